//! Signals to the primary. Their handlers are installed before any worker starts,
//! so that no signal ends the primary while workers run.

use std::future::pending;
use std::io::{self, IsTerminal};
use std::thread;
use std::time::Instant;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use balancer_access_log::AccessLog;
use balancer_admin::control::UpgradeRequest;
use balancer_supervisor::{Command, Handle, ScaleTo};
use shared_process::job_control::{JobSignal, JobSignals};
use shared_process::signals::{StopRequests, is_ignored};
use shared_protocol::Upgrade;

/// Signals of job control that may wait; further ones wait in the kernel, each kind once.
const QUEUED_SIGNALS: usize = 16;

pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// `None` where it is to be ignored, as nohup(1) wants.
    hangup: Option<Signal>,
    /// SIGTTIN and SIGTTOU, if a process has sent them.
    job_control: mpsc::Receiver<JobSignal>,
    reopen_logs: Signal,
    upgrade: Signal,
    upgrades: mpsc::Sender<UpgradeRequest>,
    /// Standard error was a terminal at the start: SIGHUP says that it has closed.
    at_terminal: bool,
    stop_requests: StopRequests,
    is_expected: bool,
    /// The primary has been asked to stop: nothing else is carried out any more.
    is_stopping: bool,
    supervisor: Handle,
    access_log: AccessLog,
}

/// What a signal asks for.
enum Request {
    Stop,
    Change(Command),
    ReopenLogs,
    Upgrade,
}

impl Signals {
    /// Installs the handlers. Signals that ask for a change become commands to
    /// `supervisor`; the one for logs reopens `access_log`.
    /// SIGTTIN and SIGTTOU must be blocked ([`shared_process::job_control::block`]).
    ///
    /// A SIGHUP that was ignored at the start stays so at a terminal. Elsewhere it asks for
    /// a reload all the same, as nginx, Gunicorn and Puma take it over in any case: programs
    /// below nohup(1), which sends standard error to a file, are reloaded by it.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub(crate) fn install(
        supervisor: Handle,
        upgrades: mpsc::Sender<UpgradeRequest>,
        access_log: AccessLog,
    ) -> io::Result<Self> {
        let at_terminal = io::stderr().is_terminal();
        let takes_hangup = !(at_terminal && is_ignored(rustix::process::Signal::HUP));
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: takes_hangup.then(|| signal(SignalKind::hangup())).transpose()?,
            job_control: receive(JobSignals::open()?)?,
            reopen_logs: signal(SignalKind::user_defined1())?,
            upgrade: signal(SignalKind::user_defined2())?,
            upgrades,
            at_terminal,
            stop_requests: StopRequests::default(),
            is_expected: false,
            is_stopping: false,
            supervisor,
            access_log,
        })
    }

    /// The first signal to stop, from now on, says nothing new.
    pub(crate) fn expect_stop(&mut self) {
        self.is_expected = true;
    }

    /// Was standard error a terminal at the start?
    pub(crate) fn at_terminal(&self) -> bool {
        self.at_terminal
    }

    /// The signal that was received last has ended a part of the shutdown: it may be delivered
    /// again as well.
    pub(crate) fn count_anew(&mut self) {
        self.stop_requests = StopRequests::default();
        self.stop_requests.counts(Instant::now());
    }

    /// Carries out what signals ask for until one asks the primary to stop; returns
    /// the name of that one. Once one has, only SIGTERM and SIGINT count, and only when they
    /// are no repetition of it ([`shared_process::signals::REPEAT_WINDOW`]).
    pub(crate) async fn stop(&mut self) -> &'static str {
        loop {
            let (name, request) = self.next().await;
            match request {
                Request::Stop if self.is_stopping && name == "SIGHUP" => {
                    debug!("the terminal has closed");
                }
                Request::Stop if self.is_expected && self.stop_requests.counts(Instant::now()) => {
                    self.is_expected = false;
                    self.is_stopping = true;
                    info!("{name}: this process is about to end already");
                }
                Request::Stop if self.stop_requests.counts(Instant::now()) => {
                    self.is_stopping = true;
                    return name;
                }
                Request::Stop => debug!("{name} is taken for the first signal, delivered again"),
                Request::ReopenLogs => self.access_log.reopen(),
                Request::Change(_) if self.is_stopping => info!("{name} does nothing during a shutdown"),
                Request::Upgrade if self.is_stopping => info!("{name} does nothing during a shutdown"),
                Request::Upgrade => {
                    let request = UpgradeRequest { upgrade: Upgrade::default(), progress: None };
                    if self.upgrades.try_send(request).is_err() {
                        warn!("{name} was ignored: too many upgrades have been asked for");
                    }
                }
                Request::Change(command) => {
                    if self.supervisor.try_send(command).is_err() {
                        warn!("{name} was ignored: the supervisor is busy or has ended");
                    }
                }
            }
        }
    }

    /// The next signal's name, and what it asks for.
    async fn next(&mut self) -> (&'static str, Request) {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => ("SIGTERM", Request::Stop),
            _ = self.interrupt.recv() => ("SIGINT", Request::Stop),
            _ = hangup => {
                let reload = Request::Change(Command::Reload { mode: None, reply: None });
                ("SIGHUP", if self.at_terminal { Request::Stop } else { reload })
            }
            Some(signal) = self.job_control.recv() => {
                let (name, to) = match signal {
                    JobSignal::In => ("SIGTTIN", ScaleTo::More(1)),
                    JobSignal::Out => ("SIGTTOU", ScaleTo::Fewer(1)),
                };
                (name, Request::Change(Command::Scale { to, reply: None }))
            }
            _ = self.upgrade.recv() => ("SIGUSR2", Request::Upgrade),
            _ = self.reopen_logs.recv() => ("SIGUSR1", Request::ReopenLogs),
        }
    }
}

/// Reads `signals` in a thread: an event loop takes descriptors of this kind by unsafe code only.
fn receive(signals: JobSignals) -> io::Result<mpsc::Receiver<JobSignal>> {
    let (sender, receiver) = mpsc::channel(QUEUED_SIGNALS);
    let read = move || {
        while let Ok(signal) = signals.wait() {
            if sender.blocking_send(signal).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("job-control".to_owned()).spawn(read)?;
    Ok(receiver)
}
