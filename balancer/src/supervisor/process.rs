//! Worker processes: the only place that starts, signals and reaps them.
//!
//! A bundled worker is this same executable run again, as Node's `fork` does it.
//! Its standard input is one end of a Unix stream socket: on it the worker
//! reports the port that it has bound, so no port is ever chosen ahead of its
//! use, and when it closes the worker knows that its primary is gone. The kernel
//! is asked for the same in [`enter`], for a worker too busy to read.
//!
//! The task that owns a child also sends its signals, so a signal can never
//! reach a stranger that was given the pid of a worker already reaped.

use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal};
use shared::protocol::{
    Generation, WORKER_COUNT_VAR, WORKER_GENERATION_VAR, WORKER_ID_VAR, WorkerId, WorkerMessage,
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::warn;

use super::output;

/// First argument of a worker process; the second is its primary's pid.
pub const WORKER_SUBCOMMAND: &str = "worker-process";
/// Bytes that a worker may say to its primary in its life; it needs under 100.
const CHANNEL_LIMIT: u64 = 64 * 1024;
/// Signals that may wait for a worker; there are two kinds of them.
const QUEUED_SIGNALS: usize = 4;

/// How worker processes are started.
#[derive(Debug, Clone)]
pub struct Launcher {
    /// Added to the primary's own environment.
    pub environment: Vec<(String, OsString)>,
    pub workers: u32,
}

/// What a process tells its supervisor.
#[derive(Debug)]
pub enum Report {
    Listening { port: u16 },
    CouldNotStart { reason: String },
    Exited { status: io::Result<ExitStatus> },
}

/// A running process. Dropping it does not stop it; its task reaps it.
#[derive(Debug)]
pub struct Process {
    pub pid: u32,
    pub generation: Generation,
    signals: mpsc::Sender<Signal>,
}

impl Process {
    /// Asks the process group to stop (SIGTERM).
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Ends the process group (SIGKILL).
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        // Full or closed only when the process has been signalled enough, or is gone.
        let _ = self.signals.try_send(signal);
    }
}

impl Launcher {
    /// Starts one worker. What happens to it arrives on `reports`, tagged with
    /// `generation`; `Exited` comes exactly once and last. What it prints is
    /// copied to the log by tasks in `relays`.
    ///
    /// Must be called from the thread that lives as long as the program: the
    /// parent-death signal fires when the *thread* that started a child ends
    /// (prctl(2), `PR_SET_PDEATHSIG`).
    ///
    /// # Errors
    /// When the process could not be started.
    pub fn launch(
        &self,
        id: WorkerId,
        generation: Generation,
        reports: mpsc::Sender<(Generation, Report)>,
        relays: &mut JoinSet<()>,
    ) -> io::Result<Process> {
        let (ours, theirs) = StdUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let channel = UnixStream::from_std(ours)?;
        let mut command = Command::new("/proc/self/exe");
        command
            .arg0(format!("worker {id}"))
            .arg(WORKER_SUBCOMMAND)
            .arg(std::process::id().to_string())
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env("HOST", "127.0.0.1")
            .env("PORT", "0")
            .env(WORKER_ID_VAR, id.to_string())
            .env(WORKER_COUNT_VAR, self.workers.to_string())
            .env(WORKER_GENERATION_VAR, generation.to_string())
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Its own group: Ctrl-C at the terminal is for the primary to hand on.
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command.spawn()?;
        let pid = child.id().expect("a child that was not waited for has a pid");
        if let Some(stdout) = child.stdout.take() {
            relays.spawn(output::relay(stdout, id, pid));
        }
        if let Some(stderr) = child.stderr.take() {
            relays.spawn(output::relay(stderr, id, pid));
        }
        let (signals, requested) = mpsc::channel(QUEUED_SIGNALS);
        tokio::spawn(attend(child, pid, channel, requested, move |report| {
            let reports = reports.clone();
            async move {
                // Fails only when the supervisor has ended, and nobody wants to know.
                let _ = reports.send((generation, report)).await;
            }
        }));
        Ok(Process { pid, generation, signals })
    }
}

/// Looks after one child until it is reaped.
async fn attend<F: Future<Output = ()>>(
    mut child: Child,
    pid: u32,
    channel: UnixStream,
    mut signals: mpsc::Receiver<Signal>,
    report: impl Fn(Report) -> F,
) {
    let group = Pid::from_raw(pid.cast_signed());
    let mut messages = BufReader::new(channel.take(CHANNEL_LIMIT)).lines();
    let mut channel_open = true;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status,
            Some(signal) = signals.recv() => {
                if let Some(Err(err)) = group.map(|group| rustix::process::kill_process_group(group, signal)) {
                    warn!(pid, %err, "could not signal worker");
                }
            }
            line = messages.next_line(), if channel_open => match line {
                Ok(Some(line)) => match serde_json::from_str(&line) {
                    Ok(WorkerMessage::Listening { port }) => report(Report::Listening { port }).await,
                    Ok(WorkerMessage::Failed { reason }) => report(Report::CouldNotStart { reason }).await,
                    Err(err) => warn!(pid, %err, "worker sent a message that does not parse"),
                },
                Ok(None) | Err(_) => channel_open = false,
            },
        }
    };
    report(Report::Exited { status }).await;
}

/// First thing in a worker process: die with the primary, however that dies,
/// and be told apart in `ps` and `top`.
///
/// # Errors
/// When `primary` is not this process's parent, which means that the primary
/// died before the request was made, or when the kernel refuses it.
pub fn enter(primary: Option<u32>) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let id = std::env::var(WORKER_ID_VAR).unwrap_or_default();
    if let Ok(name) = CString::new(format!("worker-{id}")) {
        rustix::thread::set_name(&name)?;
    }
    let parent = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    if Some(parent.cast_unsigned()) == primary {
        Ok(())
    } else {
        Err(io::Error::other("the primary is gone"))
    }
}
