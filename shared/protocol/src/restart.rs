//! Why processes are replaced.

use std::fmt;

/// Why a process was started in place of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RestartReason {
    Crash,
    Hang,
    SlowStart,
    PortTaken,
    Reload,
    MaxMemory,
    MaxRequests,
    MaxLifetime,
}

impl fmt::Display for RestartReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Crash => "crash",
            Self::Hang => "hang",
            Self::SlowStart => "slow-start",
            Self::PortTaken => "port-taken",
            Self::Reload => "reload",
            Self::MaxMemory => "max-memory",
            Self::MaxRequests => "max-requests",
            Self::MaxLifetime => "max-lifetime",
        })
    }
}
