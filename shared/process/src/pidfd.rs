//! Processes that are held by a descriptor (pidfd_open(2)), so that a signal can never reach
//! a stranger that was given the pid of one that has ended.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use procfs::process::Process;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal};

use crate::tree::Member;

/// A process that need not be a child of this one.
#[derive(Debug)]
pub struct PidFd(OwnedFd);

/// Does the system know such descriptors (Linux 5.3), and allow them?
pub fn are_supported() -> bool {
    pidfd_open(getpid(), PidfdFlags::empty()).is_ok()
}

impl PidFd {
    /// # Errors
    /// When the process has ended.
    pub fn open(member: Member) -> io::Result<Self> {
        let pid = Pid::from_raw(member.pid.cast_signed()).ok_or(io::ErrorKind::InvalidInput)?;
        let fd = pidfd_open(pid, PidfdFlags::empty())?;
        // Looked at after the descriptor was had: if this is the one that was meant, then
        // the descriptor is of it as well.
        let stat = Process::new(member.pid.cast_signed()).and_then(|process| process.stat());
        match stat {
            Ok(stat) if stat.starttime == member.started => Ok(Self(fd)),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// # Errors
    /// When the process has ended, or may not be signalled.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(pidfd_send_signal(&self.0, signal)?)
    }
}

/// Waits until one of `processes` has ended, for at most `limit`, and removes all that have.
/// Returns whether there was one; at once when there are no processes.
pub fn wait_for_any(processes: &mut Vec<PidFd>, limit: Option<Duration>) -> bool {
    if processes.is_empty() {
        return false;
    }
    let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
    // A descriptor is readable from the end of its process on.
    let mut ends: Vec<_> = processes.iter().map(|process| PollFd::new(&process.0, PollFlags::IN)).collect();
    let count = loop {
        match poll(&mut ends, limit.as_ref()) {
            Err(rustix::io::Errno::INTR) => {}
            result => break result.unwrap_or(0),
        }
    };
    let ended: Vec<bool> = ends.iter().map(|end| !end.revents().is_empty()).collect();
    let mut ended = ended.into_iter();
    processes.retain(|_| !ended.next().unwrap_or(false));
    count > 0
}
