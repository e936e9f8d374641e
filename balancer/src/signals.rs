//! Signals to the primary. Handlers are installed before anything is started,
//! so that no signal can end the primary while workers run.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tracing::warn;

use crate::supervisor::{Count, Order};

pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    more: Signal,
    fewer: Signal,
    reopen: Signal,
    orders: mpsc::Sender<Order>,
}

impl Signals {
    /// Signals that ask for a change go to `orders`.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub fn install(orders: mpsc::Sender<Order>) -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            more: signal(SignalKind::from_raw(rustix::process::Signal::TTIN.as_raw()))?,
            fewer: signal(SignalKind::from_raw(rustix::process::Signal::TTOU.as_raw()))?,
            reopen: signal(SignalKind::user_defined1())?,
            orders,
        })
    }

    /// Waits until the primary is asked to stop, and says by which signal. Until
    /// then, what other signals ask for is done.
    pub async fn stop(&mut self) -> &'static str {
        loop {
            let (name, order) = tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.hangup.recv() => ("SIGHUP", Order::Reload { reply: None }),
                _ = self.more.recv() => ("SIGTTIN", Order::Scale { to: Count::More(1), reply: None }),
                _ = self.fewer.recv() => ("SIGTTOU", Order::Scale { to: Count::Fewer(1), reply: None }),
                _ = self.reopen.recv() => ("SIGUSR1", Order::ReopenLogs),
            };
            if self.orders.try_send(order).is_err() {
                warn!("{name} was ignored: the supervisor is busy or has ended");
            }
        }
    }
}
