//! Signals to the primary. Handlers are installed before anything is started,
//! so that no signal can end the primary while workers run.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::warn;

pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// # Errors
    /// When the handlers cannot be installed.
    pub fn install() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits until the primary is asked to stop; says by which signal.
    pub async fn stop(&mut self) -> &'static str {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                // Elsewhere it means to reload, or that a terminal has gone: neither
                // is a reason to cut anybody off.
                _ = self.hangup.recv() => warn!("SIGHUP is ignored; SIGTERM stops the cluster"),
            }
        }
    }
}
