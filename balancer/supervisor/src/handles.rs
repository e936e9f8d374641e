//! Whether programs handle SIGTERM. One that does not is ended by it at once, with all of its
//! connections.

use rustix::process::Signal;
use shared_process::signals;
use shared_process::tree::Processes;

/// Where a program is: the shim above it, and the port that it serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) shim: u32,
    pub(crate) port: u16,
}

impl Place {
    /// Do all of those handle SIGTERM that would get it first ([`crate::shim`])? Who may not be
    /// looked at does, as most do. Reads files of all processes.
    pub(crate) fn handles_terminate(self, processes: &Processes) -> bool {
        let told = processes.told_first(self.shim, Some(self.port));
        told.iter().all(|member| signals::is_handled_by(member.pid, Signal::TERM).unwrap_or(true))
    }
}
