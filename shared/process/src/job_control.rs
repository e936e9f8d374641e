//! SIGTTIN and SIGTTOU, which two senders use. A person asks by them for one worker more or
//! fewer. The kernel stops background jobs by them that read from their terminal, or write to
//! it after `stty tostop`, and sends them to the whole process group (tcsetpgrp(3), termios(3)).
//! They are told apart by `si_code` (sigaction(2)), which only a descriptor shows safely.
//!
//! While they are blocked the kernel lets a background job write, instead of sending the
//! signal over and over to a process that handles it.

use std::io;

use nix::errno::Errno;
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

/// Signals that ask a process to end, and that some wrappers send to each process below them,
/// as `concurrently` does.
fn stop_signals() -> SigSet {
    [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM].into_iter().collect()
}

/// Blocks SIGHUP, SIGINT, SIGQUIT and SIGTERM as [`block`] does: for a process that is told in
/// another way when to end, and whose death would end others.
///
/// # Errors
/// As of pthread_sigmask(3): none that is expected.
pub fn block_stop_signals() -> io::Result<()> {
    Ok(stop_signals().thread_block()?)
}

/// Undoes [`block`] and [`block_stop_signals`], for a program that is about to be executed.
///
/// # Errors
/// As of pthread_sigmask(3): none that is expected.
pub fn unblock() -> io::Result<()> {
    signals().thread_unblock()?;
    Ok(stop_signals().thread_unblock()?)
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
    /// # Errors
    /// When the descriptor cannot be had.
    pub fn open() -> io::Result<Self> {
        Ok(Self(SignalFd::with_flags(&signals(), SfdFlags::SFD_CLOEXEC)?))
    }

    /// Waits for the next signal that was sent by a process. The kernel's are about the
    /// terminal: the background job is to stop, and does not.
    ///
    /// # Errors
    /// As of read(2): none that is expected.
    pub fn wait(&self) -> io::Result<JobSignal> {
        loop {
            match self.0.read_signal() {
                // Codes of processes are zero or below (`SI_FROMUSER`).
                Ok(Some(signal)) if signal.ssi_code <= 0 => {
                    let is_in = signal.ssi_signo == Signal::SIGTTIN as u32;
                    return Ok(if is_in { JobSignal::In } else { JobSignal::Out });
                }
                Ok(_) | Err(Errno::EINTR) => {}
                Err(err) => return Err(err.into()),
            }
        }
    }
}
