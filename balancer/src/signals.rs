//! Signals to the primary. Handlers are installed before anything is started,
//! so that no signal can end the primary while workers run.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::warn;

use balancer_access_log::AccessLog;
use balancer_supervisor::{Command, Handle, ScaleTo};

pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    more: Signal,
    fewer: Signal,
    reopen: Signal,
    supervisor: Handle,
    access_log: AccessLog,
}

impl Signals {
    /// Signals that ask for a change go to the supervisor, the one for logs to `access_log`.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub(crate) fn install(supervisor: Handle, access_log: AccessLog) -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            more: signal(SignalKind::from_raw(rustix::process::Signal::TTIN.as_raw()))?,
            fewer: signal(SignalKind::from_raw(rustix::process::Signal::TTOU.as_raw()))?,
            reopen: signal(SignalKind::user_defined1())?,
            supervisor,
            access_log,
        })
    }

    /// Waits until the primary is asked to stop, and says by which signal. Until
    /// then, what other signals ask for is done.
    pub(crate) async fn stop(&mut self) -> &'static str {
        loop {
            let (name, command) = tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.hangup.recv() => ("SIGHUP", Command::Reload { reply: None }),
                _ = self.more.recv() => ("SIGTTIN", Command::Scale { to: ScaleTo::More(1), reply: None }),
                _ = self.fewer.recv() => ("SIGTTOU", Command::Scale { to: ScaleTo::Fewer(1), reply: None }),
                _ = self.reopen.recv() => {
                    self.access_log.reopen();
                    continue;
                }
            };
            if self.supervisor.try_send(command).is_err() {
                warn!("{name} was ignored: the supervisor is busy or has ended");
            }
        }
    }
}
