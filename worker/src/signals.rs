//! SIGTERM and SIGINT, and SIGHUP of a terminal that closes. SIGUSR1 and SIGUSR2 are for a
//! primary, and do nothing here: by default they would end the process, and who sends them to
//! all processes of a name means the primary.

use std::future::pending;
use std::io::{self, IsTerminal};
use std::time::Instant;

use shared_process::signals::{StopRequests, is_ignored};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{debug, warn};

/// The signals that stop a worker.
pub(crate) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
    /// Handled alone and at a terminal, unless nohup(1) has had it ignored.
    hangup: Option<Signal>,
    reopen_logs: Signal,
    upgrade: Signal,
    /// Below a primary. Ctrl-C reaches the whole process group, and it is for the primary to say
    /// what happens then.
    is_supervised: bool,
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
            reopen_logs: signal(SignalKind::user_defined1())?,
            upgrade: signal(SignalKind::user_defined2())?,
            is_supervised: supervised,
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
                _ = self.interrupt.recv() => if self.is_supervised { continue } else { "SIGINT" },
                _ = self.reopen_logs.recv() => {
                    self.disregard("SIGUSR1", "it has no log file to reopen");
                    continue;
                }
                _ = self.upgrade.recv() => {
                    self.disregard("SIGUSR2", "an upgrade needs a cluster (leave out --cluster off)");
                    continue;
                }
                _ = hangup => if self.is_stopping { continue } else { "SIGHUP" },
            };
            if self.requests.counts(Instant::now()) {
                self.is_stopping = true;
                return name;
            }
        }
    }

    /// Says why this signal does nothing, where no primary says more.
    fn disregard(&self, name: &str, why: &str) {
        if self.is_supervised {
            debug!("{name} does nothing in a worker: it is for the primary");
        } else {
            warn!("{name} does nothing: this is a single process, and {why}");
        }
    }
}
