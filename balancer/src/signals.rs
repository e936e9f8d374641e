//! Signals to the primary. Their handlers are installed before any worker starts,
//! so that no signal ends the primary while workers run.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::warn;

use balancer_access_log::AccessLog;
use balancer_supervisor::{Command, Handle, ScaleTo};

pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    scale_up: Signal,
    scale_down: Signal,
    reopen_logs: Signal,
    supervisor: Handle,
    access_log: AccessLog,
}

impl Signals {
    /// Installs the handlers. Signals that ask for a change become commands to
    /// `supervisor`; the one for logs reopens `access_log`.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub(crate) fn install(supervisor: Handle, access_log: AccessLog) -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            scale_up: signal(SignalKind::from_raw(rustix::process::Signal::TTIN.as_raw()))?,
            scale_down: signal(SignalKind::from_raw(rustix::process::Signal::TTOU.as_raw()))?,
            reopen_logs: signal(SignalKind::user_defined1())?,
            supervisor,
            access_log,
        })
    }

    /// Carries out what signals ask for until one asks the primary to stop; returns
    /// the name of that one.
    pub(crate) async fn stop(&mut self) -> &'static str {
        loop {
            let (name, command) = tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.hangup.recv() => ("SIGHUP", Command::Reload { reply: None }),
                _ = self.scale_up.recv() => ("SIGTTIN", Command::Scale { to: ScaleTo::More(1), reply: None }),
                _ = self.scale_down.recv() => ("SIGTTOU", Command::Scale { to: ScaleTo::Fewer(1), reply: None }),
                _ = self.reopen_logs.recv() => {
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
