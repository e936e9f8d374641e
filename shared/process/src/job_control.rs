//! SIGTTIN and SIGTTOU, which two senders use. A person asks by them for one worker more or
//! fewer. The kernel stops background jobs by them that read from their terminal, or write to
//! it after `stty tostop`, and sends them to the whole process group (tcsetpgrp(3), termios(3)).
//! They are told apart by `si_code` (sigaction(2)), which only a descriptor shows safely.
//!
//! While they are blocked the kernel lets a background job write, instead of sending the
//! signal over and over to a process that handles it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

fn signals() -> SigSet {
    [Signal::SIGTTIN, Signal::SIGTTOU].into_iter().collect()
}

/// Blocks both for this thread and those that it starts from now on, and for what it executes.
///
/// # Errors
/// As of pthread_sigmask(3): none that is expected.
pub fn block() -> io::Result<()> {
    Ok(signals().thread_block()?)
}

/// Undoes [`block`], for a program that is about to be executed.
///
/// # Errors
/// As of pthread_sigmask(3): none that is expected.
pub fn unblock() -> io::Result<()> {
    Ok(signals().thread_unblock()?)
}

/// What arrives while [`block`] is in force for all threads.
#[derive(Debug)]
pub struct JobSignals(SignalFd);

/// One of the two signals, as a process has sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobSignal {
    /// SIGTTIN.
    In,
    /// SIGTTOU.
    Out,
}

impl JobSignals {
    /// Does not block when it is read from.
    ///
    /// # Errors
    /// When the descriptor cannot be had.
    pub fn open() -> io::Result<Self> {
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        Ok(Self(SignalFd::with_flags(&signals(), flags)?))
    }

    /// The next signal; `None` inside when the kernel has sent it, about a terminal.
    ///
    /// # Errors
    /// `WouldBlock` when there is none yet.
    pub fn read(&self) -> io::Result<Option<JobSignal>> {
        let signal = self.0.read_signal()?.ok_or(io::ErrorKind::WouldBlock)?;
        // Codes of processes are zero or below (`SI_FROMUSER`).
        if signal.ssi_code > 0 {
            return Ok(None);
        }
        let is_in = signal.ssi_signo == Signal::SIGTTIN as u32;
        Ok(Some(if is_in { JobSignal::In } else { JobSignal::Out }))
    }
}

impl AsFd for JobSignals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for JobSignals {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}
