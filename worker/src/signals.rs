//! SIGTERM and SIGINT, and SIGHUP of a terminal that closes.

use std::future::pending;
use std::io::{self, IsTerminal};
use std::time::Instant;

use shared_process::signals::{StopRequests, is_ignored};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that stop a worker.
pub(crate) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
    /// Handled alone and at a terminal, unless nohup(1) has had it ignored.
    hangup: Option<Signal>,
    /// Ctrl-C reaches the whole process group; below a primary it is for the
    /// primary to say what happens.
    ignore_interrupt: bool,
    requests: StopRequests,
    is_stopping: bool,
}

impl StopSignals {
    /// From here on these signals do nothing by themselves.
    pub(crate) fn install(supervised: bool) -> io::Result<Self> {
        let takes_hangup =
            !supervised && io::stderr().is_terminal() && !is_ignored(rustix::process::Signal::HUP);
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: takes_hangup.then(|| signal(SignalKind::hangup())).transpose()?,
            ignore_interrupt: supervised,
            requests: StopRequests::default(),
            is_stopping: false,
        })
    }

    /// The next one's name. A further one that comes right after the first is the first
    /// again ([`shared_process::signals::REPEAT_WINDOW`]).
    pub(crate) async fn next(&mut self) -> &'static str {
        loop {
            let hangup = async {
                match &mut self.hangup {
                    Some(hangup) => hangup.recv().await,
                    None => pending().await,
                }
            };
            let name = tokio::select! {
                _ = self.terminate.recv() => "SIGTERM",
                _ = self.interrupt.recv() => if self.ignore_interrupt { continue } else { "SIGINT" },
                _ = hangup => if self.is_stopping { continue } else { "SIGHUP" },
            };
            if self.requests.counts(Instant::now()) {
                self.is_stopping = true;
                return name;
            }
        }
    }
}
