//! Worker processes: the only place that starts, signals and reaps them.
//!
//! A bundled worker is this same executable run again, as Node's `fork` does it.
//! Somebody else's program runs below a [`shim`], which is this executable as
//! well. Either has one end of a Unix stream socket as standard input: on it it
//! reports what becomes of it, and when it closes it knows that its primary is
//! gone. The kernel is asked for the same in [`child`](crate::child), for a worker
//! too busy to read.
//!
//! The task that owns a child also sends its signals, so a signal can never
//! reach a stranger that was given the pid of a worker already reaped.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command as StdCommand, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use shared_protocol::{
    Generation, LeftRunning, OutputStream, PrimaryMessage, TrafficReport, WORKER_COUNT_VAR,
    WORKER_GENERATION_VAR, WORKER_ID_VAR, WorkerMessage,
};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::warn;

use crate::direct::{Accepts, Direct, QUEUED_MESSAGES};
use crate::oom::{self, Rank};
use crate::output::{Printer, WorkerOutput};
use crate::port::Port;
use crate::release::OpenedRelease;
use crate::shim;
use balancer_fleet::Launch;

pub use crate::program::Program;
use shared_process::inherited::Inherited;
use shared_process::tree;

/// First argument of a worker process; the second is its primary's pid.
pub const WORKER_SUBCOMMAND: &str = "worker-process";
/// Bytes that one message of a worker may have; it needs under 100.
const MESSAGE_LIMIT: usize = 64 * 1024;
/// Signals that may wait for a worker; there are two kinds of them.
const QUEUED_SIGNALS: usize = 4;
/// For a shim to take down its program, before it is killed itself.
const SHIM_TIMEOUT: Duration = Duration::from_secs(2);

/// For what a process that was never ready has printed last, where something that it has
/// started may hold its output open for ever.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// How worker processes are started.
#[derive(Debug, Clone)]
pub struct Launcher {
    /// Added to the primary's own environment; environment files win over it.
    pub defaults: Vec<(String, OsString)>,
    /// Added to the primary's own environment and to what environment files have.
    pub environment: Vec<(String, OsString)>,
    /// Taken from the primary's own environment.
    pub unset: Vec<&'static str>,
    /// What programs find as if the primary were not there.
    pub inherited: Inherited,
    pub children: Children,
    /// Where workers accept clients' connections themselves.
    pub direct: Option<Direct>,
    /// Where what workers print goes.
    pub output: Arc<WorkerOutput>,
}

/// The pids of all processes that were started here and are not reaped yet.
#[derive(Debug, Clone, Default)]
pub struct Children(Arc<Mutex<BTreeSet<u32>>>);

impl Children {
    pub fn contains(&self, pid: u32) -> bool {
        self.lock().contains(&pid)
    }

    /// Somebody else waits for `pid`.
    pub fn add(&self, pid: u32) {
        self.lock().insert(pid);
    }

    /// `pid` has been waited for.
    pub fn remove(&self, pid: u32) {
        self.lock().remove(&pid);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a process tells its supervisor, or is found out about it.
#[derive(Debug)]
pub enum ProcessReport {
    /// It runs, and has bound `port` or was told to.
    Up {
        pid: u32,
        port: u16,
    },
    CouldNotStart {
        reason: String,
    },
    /// It is about to stop.
    Leaving,
    /// What it has answered to clients whose connections it has accepted itself.
    Traffic(TrafficReport),
    /// It was withdrawn, and has only long-lived connections.
    OnlyLongLived {
        /// As far as the kernel knows.
        may_handle_terminate: bool,
    },
    /// It was withdrawn, and has nothing in flight.
    Drained,
    Exited {
        status: io::Result<ExitStatus>,
        /// What a program has left running that went into the background.
        left: Option<LeftRunning>,
    },
}

/// Signals a running process. Dropping it does not stop the process; its task reaps it.
#[derive(Debug)]
pub struct ProcessHandle {
    /// The child of the primary: a bundled worker, or the shim of a program.
    pub(crate) child: u32,
    pub(crate) is_shim: bool,
    pub(crate) signals: mpsc::Sender<Signal>,
    /// Does it accept clients' connections itself?
    pub(crate) accepts: Accepts,
    /// It has been ready.
    pub(crate) was_ready: Arc<AtomicBool>,
}

impl ProcessHandle {
    /// Asks the process group to stop (SIGTERM).
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Ends the process group (SIGKILL), or all that is below a shim.
    pub(crate) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// It is ready: it may accept clients' connections.
    pub(crate) fn accept(&self) {
        if let Accepts::WhenTold(messages) = &self.accepts {
            // Closed only when the process is gone.
            let _ = messages.try_send(PrimaryMessage::Accept);
        }
    }

    /// It is to finish what it has. Says whether it was told so, and ends by itself when it
    /// has: what it holds is known to itself alone.
    pub(crate) fn drain(&self) -> bool {
        match &self.accepts {
            Accepts::Never => return false,
            Accepts::WhenTold(messages) => {
                // As above.
                let _ = messages.try_send(PrimaryMessage::Drain);
            }
            Accepts::FromStart => self.terminate(),
        }
        true
    }

    /// Signals the process group, or what serves below a shim.
    pub(crate) fn signal(&self, signal: Signal) {
        // Full or closed only when the process has been signalled enough, or is gone.
        let _ = self.signals.try_send(signal);
    }
}

impl Launcher {
    /// Starts one worker. What happens to it arrives on `reports`, tagged with
    /// its generation; `Exited` comes exactly once and last. What it prints is
    /// copied to the log by tasks in `relays`.
    ///
    /// Must be called from the thread that lives as long as the program: the
    /// parent-death signal fires when the *thread* that started a child ends
    /// (prctl(2), `PR_SET_PDEATHSIG`).
    ///
    /// # Errors
    /// When the process could not be started.
    pub(crate) fn launch(
        &self,
        launch: Launch,
        program: &Program,
        release: &OpenedRelease,
        reports: mpsc::Sender<(Generation, ProcessReport)>,
        relays: &mut JoinSet<()>,
    ) -> io::Result<ProcessHandle> {
        let Launch { worker: id, generation, .. } = launch;
        let (ours, theirs) = StdUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let channel = UnixStream::from_std(ours)?;
        let direct = self.direct.as_ref();
        let port = match direct.and_then(|_| Direct::port(program)) {
            Some(port) => port?,
            None => Port::take(launch.port)?,
        };
        let mut command = self.command(launch, program, release, port.number());
        if let Some(direct) = direct {
            direct.pass(&mut command, id, &port)?;
        }
        command.stdin(Stdio::from(OwnedFd::from(theirs)));
        let mut child = Command::from(command).kill_on_drop(true).spawn()?;
        let pid = child.id().expect("a child that was not waited for has a pid");
        self.children.lock().insert(pid);
        let rank = if launch.on_trial { Rank::Candidate } else { Rank::Worker };
        let shown = Arc::new(AtomicU32::new(pid));
        let printer = Printer::new(id, generation, Arc::clone(&shown), &self.output);
        // Closed when both streams have been read to their ends.
        let (speaks, mut silent) = mpsc::channel(1);
        if let Some(stdout) = child.stdout.take() {
            let relay = printer.clone().relay(stdout, OutputStream::Stdout, Arc::clone(&self.output));
            relays.spawn(until_silent(relay, speaks.clone()));
        }
        if let Some(stderr) = child.stderr.take() {
            let relay = printer.relay(stderr, OutputStream::Stderr, Arc::clone(&self.output));
            relays.spawn(until_silent(relay, speaks));
        }
        let (signals, requested) = mpsc::channel(QUEUED_SIGNALS);
        let (messages, told) = mpsc::channel(QUEUED_MESSAGES);
        let is_shim = matches!(program, Program::Command(_));
        let accepts = match (direct, is_shim) {
            (None, _) => Accepts::Never,
            (Some(_), false) => Accepts::WhenTold(messages),
            (Some(_), true) => Accepts::FromStart,
        };
        if !is_shim {
            oom::set_rank(pid, rank);
        }
        let direct = self.direct.clone();
        let mut task =
            ProcessTask { child, pid, shown, is_shim, rank, port, ended: None, reports, generation, direct };
        let (children, was_ready) = (self.children.clone(), Arc::new(AtomicBool::new(false)));
        let has_served = Arc::clone(&was_ready);
        tokio::spawn(async move {
            let (status, left) = task.attend(channel, requested, told).await;
            children.lock().remove(&pid);
            // Its last words tell why it was never ready.
            if !has_served.load(Ordering::Relaxed) {
                let _ = timeout(LAST_WORDS, silent.recv()).await;
            }
            task.report(ProcessReport::Exited { status, left }).await;
        });
        Ok(ProcessHandle { child: pid, is_shim, signals, accepts, was_ready })
    }

    fn command(&self, launch: Launch, program: &Program, release: &OpenedRelease, port: u16) -> StdCommand {
        let mut command = StdCommand::new(release.executable.path());
        let primary = std::process::id().to_string();
        match program {
            Program::Bundled => {
                command.arg0(format!("worker {}", launch.worker)).arg(WORKER_SUBCOMMAND).arg(primary);
            }
            Program::Command(line) => {
                let name = format!("worker {} shim", launch.worker);
                command.arg0(name).arg(shim::SHIM_SUBCOMMAND).arg(primary);
                command.arg(self.inherited.to_string()).args(line);
            }
        }
        for name in &self.unset {
            command.env_remove(name);
        }
        if !release.directory.is_own() {
            command.current_dir(release.directory.path());
        }
        let added = self.defaults.iter().map(|(name, value)| (name, value));
        command
            .envs(added.chain(&release.variables.0))
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env("PWD", release.directory.path())
            .env("HOST", Ipv4Addr::LOCALHOST.to_string())
            .env("PORT", port.to_string())
            .env(WORKER_ID_VAR, launch.worker.to_string())
            .env(WORKER_COUNT_VAR, launch.workers.to_string())
            .env(WORKER_GENERATION_VAR, launch.generation.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Its own group: Ctrl-C at the terminal is for the primary to hand on.
            .process_group(0);
        command
    }
}

/// Copies what a process prints; `_speaks` is dropped with its end.
async fn until_silent(copying: impl Future<Output = ()>, _speaks: mpsc::Sender<()>) {
    copying.await;
}

/// Sends `message` to a worker, which may not read any more.
async fn tell(writer: &mut OwnedWriteHalf, message: &PrimaryMessage) {
    let mut line = serde_json::to_vec(message).expect("messages are structs that always serialise");
    line.push(b'\n');
    let _ = timeout(SHIM_TIMEOUT, writer.write_all(&line)).await;
}

/// Looks after one child until it is reaped.
struct ProcessTask {
    child: Child,
    pid: u32,
    /// As the log has it: a supervised program's own, once it is known.
    shown: Arc<AtomicU32>,
    /// The child is a shim, and is told what to do over its channel.
    is_shim: bool,
    rank: Rank,
    port: Port,
    /// How the supervised program ended, as its shim tells.
    ended: Option<(ExitStatus, Option<LeftRunning>)>,
    reports: mpsc::Sender<(Generation, ProcessReport)>,
    generation: Generation,
    direct: Option<Direct>,
}

impl ProcessTask {
    async fn attend(
        &mut self,
        channel: UnixStream,
        mut signals: mpsc::Receiver<Signal>,
        mut told: mpsc::Receiver<PrimaryMessage>,
    ) -> (io::Result<ExitStatus>, Option<LeftRunning>) {
        let (reader, mut writer) = channel.into_split();
        let mut messages = BufReader::new(reader);
        let mut line = Vec::new();
        let mut channel_open = true;
        let status = loop {
            tokio::select! {
                status = self.child.wait() => break status,
                Some(signal) = signals.recv() => match (self.is_shim, signal) {
                    (false, signal) => self.signal_group(signal),
                    (true, Signal::KILL) => {
                        // Fails when the shim has ended, or does not read.
                        let _ = timeout(SHIM_TIMEOUT, writer.write_all(shim::KILL)).await;
                        match timeout(SHIM_TIMEOUT, self.child.wait()).await {
                            Ok(status) => break status,
                            // It does not do it itself.
                            Err(_) => {
                                tree::kill_below(self.pid);
                                self.signal_group(Signal::KILL);
                            }
                        }
                    }
                    (true, Signal::TERM) => {
                        drop(timeout(SHIM_TIMEOUT, writer.write_all(shim::TERMINATE)).await);
                    }
                    (true, signal) => {
                        let command = shim::signal(signal);
                        drop(timeout(SHIM_TIMEOUT, writer.write_all(&command)).await);
                    }
                },
                Some(message) = told.recv() => tell(&mut writer, &message).await,
                more = messages.read_until(b'\n', &mut line), if channel_open => {
                    channel_open = matches!(more, Ok(1..)) && line.len() < MESSAGE_LIMIT;
                    if channel_open {
                        if let Some(answer) = self.hear(&line).await {
                            tell(&mut writer, &answer).await;
                        }
                        line.clear();
                    }
                }
            }
        };
        // What it said before it ended is still to be read.
        while channel_open
            && let Ok(Ok(1..)) = timeout(SHIM_TIMEOUT, messages.read_until(b'\n', &mut line)).await
        {
            self.hear(&line).await;
            line.clear();
        }
        match self.ended.take() {
            Some((status, left)) => (Ok(status), left),
            None => (status, None),
        }
    }

    /// Returns the answer if it has asked something.
    async fn hear(&mut self, line: &[u8]) -> Option<PrimaryMessage> {
        let report = match serde_json::from_slice(line) {
            Ok(WorkerMessage::Listening { port }) => ProcessReport::Up { pid: self.pid, port },
            Ok(WorkerMessage::Started { pid }) => {
                self.shown.store(pid, Ordering::Relaxed);
                oom::set_rank(pid, self.rank);
                ProcessReport::Up { pid, port: self.port.number() }
            }
            Ok(WorkerMessage::Failed { reason }) => ProcessReport::CouldNotStart { reason },
            Ok(WorkerMessage::Leaving) => ProcessReport::Leaving,
            Ok(WorkerMessage::Ended { status, left }) => {
                self.ended = Some((ExitStatus::from_raw(status), left));
                return None;
            }
            Ok(WorkerMessage::Traffic(report)) => ProcessReport::Traffic(report),
            Ok(WorkerMessage::Ask { id, path }) => {
                return self.direct.as_ref().map(|direct| direct.answer(id, &path));
            }
            Err(err) => {
                warn!(pid = self.pid, %err, "worker sent a message that does not parse");
                return None;
            }
        };
        self.report(report).await;
        None
    }

    async fn report(&self, report: ProcessReport) {
        // Fails only when the supervisor has ended, and nobody wants to know.
        let _ = self.reports.send((self.generation, report)).await;
    }

    fn signal_group(&self, signal: Signal) {
        let group = Pid::from_raw(self.pid.cast_signed());
        if let Some(Err(err)) = group.map(|group| rustix::process::kill_process_group(group, signal)) {
            warn!(pid = self.pid, %err, "could not signal worker");
        }
    }
}
