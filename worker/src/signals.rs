//! SIGTERM and SIGINT.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that stop a worker.
pub(crate) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
    /// Ctrl-C reaches the whole process group; below a primary it is for the
    /// primary to say what happens.
    ignore_interrupt: bool,
}

impl StopSignals {
    /// From here on these signals do nothing by themselves.
    pub(crate) fn install(ignore_interrupt: bool) -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            ignore_interrupt,
        })
    }

    /// The next one's name.
    pub(crate) async fn next(&mut self) -> &'static str {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => if !self.ignore_interrupt { return "SIGINT" },
            }
        }
    }
}
