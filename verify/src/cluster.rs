//! Private clusters: started on a free port, in a directory of their own, and
//! killed with all of their processes when dropped, whatever happens.

pub mod guard;
pub mod operate;
pub mod redis;

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde::Deserialize;
use shared_http_client::{Limits, Request};
use shared_protocol::{WorkerList, WorkerState};
use shared_settings::definitions;

use crate::answer_log::AnswerLog;
use crate::client::Client;
use crate::load::eventually;
use crate::observe::WorkerProcess;
use crate::proc::{self, Process};
use crate::target::Target;
use crate::transport::{Transport, TransportError};

/// Until a cluster listens, and then until all of its workers are online.
const START_LIMIT: Duration = Duration::from_secs(60);
/// Lines of the cluster's log that are kept.
const LOG_LINES: usize = 200;
/// For the last words of a balancer that has ended.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Name of the control socket in a cluster's directory.
const CONTROL: &str = "control.sock";
/// For one question to the control socket while a cluster starts.
const CONTROL_LIMITS: Limits = Limits::new(Duration::from_secs(5), 1024 * 1024);
/// For processes to vanish after their primary was killed, before they are
/// killed themselves.
const FOLLOW_LIMIT: Duration = Duration::from_millis(500);

#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    #[error("could not find the balancer at {} (build it with `cargo build -p balancer`, or say --balancer PATH)", .0.display())]
    NoBalancer(PathBuf),
    #[error("could not make a directory for the cluster: {0}")]
    Directory(std::io::Error),
    #[error("could not start {}: {source}", program.display())]
    Start { program: PathBuf, source: std::io::Error },
    #[error("the balancer ended with {status} at start; the end of its log: {log}")]
    Ended { status: ExitStatus, log: String },
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error("the cluster was not ready within {START_LIMIT:?}; the end of its log: {0}")]
    Slow(String),
}

/// How to start clusters.
#[derive(Debug, Clone)]
pub struct Launcher {
    program: PathBuf,
    pub workers: u32,
    answer_log: Arc<Mutex<AnswerLog>>,
}

impl Launcher {
    /// # Errors
    /// When there is no such program.
    pub fn new(
        balancer: Option<PathBuf>,
        workers: u32,
        answer_log: Arc<Mutex<AnswerLog>>,
    ) -> Result<Self, ClusterError> {
        let beside = || std::env::current_exe().unwrap_or_default().with_file_name("balancer");
        let program = balancer.unwrap_or_else(beside);
        // The cluster gets another working directory.
        let program = std::path::absolute(&program).unwrap_or(program);
        if !program.is_file() {
            return Err(ClusterError::NoBalancer(program));
        }
        Ok(Self { program, workers, answer_log })
    }

    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The same, with another executable.
    pub fn with_program(&self, program: PathBuf) -> Self {
        Self { program, ..self.clone() }
    }

    /// Starts a cluster and waits until all of its workers are online.
    pub async fn launch(&self, arguments: &[&str]) -> Result<Cluster, ClusterError> {
        let plain = ["--port", "0", "--host", "127.0.0.1"];
        let client = |address| Ok(Client::plain(Target::at(address), Arc::clone(&self.answer_log)));
        self.launch_at(&[&plain, arguments].concat(), client).await
    }

    /// As [`Self::launch`], where clients speak HTTPS at `port`, as `transport` says.
    pub async fn launch_secured(
        &self,
        port: u16,
        arguments: &[&str],
        transport: &Transport,
    ) -> Result<Cluster, ClusterError> {
        let log = || Arc::clone(&self.answer_log);
        let client = |address| Client::new(Target::at(address).secured(), transport, log());
        self.launch_at(&[&["--listen", &format!("https://127.0.0.1:{port}")], arguments].concat(), client)
            .await
    }

    async fn launch_at(
        &self,
        arguments: &[&str],
        client: impl Fn(SocketAddr) -> Result<Client, TransportError>,
    ) -> Result<Cluster, ClusterError> {
        let began = Instant::now();
        let directory =
            tempfile::Builder::new().prefix("verify-").tempdir().map_err(ClusterError::Directory)?;
        let mut child = self
            .command(directory.path(), arguments)
            .spawn()
            .map_err(|source| ClusterError::Start { program: self.program.clone(), source })?;
        let log = Log::default();
        if let Some(stderr) = child.stderr.take() {
            log.follow(BufReader::new(stderr));
        }
        // From here on, dropping it kills the process.
        let nobody = client(([127, 0, 0, 1], 0).into())?;
        let mut cluster = Cluster {
            child,
            client: nobody,
            plain: None,
            log,
            startup: Duration::ZERO,
            processes: Vec::new(),
            directory,
        };
        let listening = cluster.listening().await?;
        cluster.client = client(listening.address)?;
        let plain =
            listening.listeners.iter().rev().find_map(|url| url.strip_prefix("http://")?.parse().ok());
        cluster.plain = plain.filter(|plain| *plain != listening.address);
        let limit = START_LIMIT.saturating_sub(began.elapsed());
        if cluster.all_online(limit).await.is_none() {
            return Err(ClusterError::Slow(cluster.log.log_tail()));
        }
        cluster.startup = began.elapsed();
        Ok(cluster)
    }

    fn command(&self, directory: &Path, arguments: &[&str]) -> Command {
        let mut command = guard::command(&self.program);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if definitions::all().any(|setting| setting.variables().any(|variable| variable == text))
                || text.starts_with("WORKER_")
            {
                command.env_remove(&name);
            }
        }
        command
            .args(["--log-format", "json", "--control"])
            .arg(directory.join(CONTROL))
            .args(arguments)
            .current_dir(directory)
            .env("TMPDIR", directory)
            .env("XDG_RUNTIME_DIR", directory)
            // Its port could be somebody else's.
            .env(definitions::ADMIN.variable, "off")
            // A Ctrl-C on the terminal is for this program, which undoes the rest.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        if !arguments.contains(&"--workers") {
            command.args(["--workers", &self.workers.to_string()]);
        }
        command
    }
}

/// The end of a cluster's log.
#[derive(Debug, Clone, Default)]
struct Log {
    lines: Arc<Mutex<VecDeque<String>>>,
    has_ended: Arc<AtomicBool>,
}

impl Log {
    /// Reads until the writer is gone, so that it never blocks on a full pipe.
    fn follow(&self, reader: impl BufRead + Send + 'static) {
        let log = self.clone();
        thread::spawn(move || {
            for line in reader.lines().map_while(Result::ok) {
                let mut lines = log.lines.lock().unwrap_or_else(PoisonError::into_inner);
                if lines.len() == LOG_LINES {
                    lines.pop_front();
                }
                lines.push_back(line);
            }
            log.has_ended.store(true, Ordering::Release);
        });
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Waits for the last words of a process that has ended; another one may hold its
    /// standard error open.
    async fn complete(&self) {
        let has_ended = || async { self.has_ended.load(Ordering::Acquire).then_some(()) };
        let _ = eventually(LAST_WORDS, has_ended).await;
    }

    fn log_tail(&self) -> String {
        let lines = self.lines();
        lines[lines.len().saturating_sub(5)..].join(" | ")
    }
}

/// A running private cluster.
#[derive(Debug)]
pub struct Cluster {
    child: Child,
    pub client: Client,
    /// Where plain HTTP is redirected to HTTPS.
    pub plain: Option<SocketAddr>,
    log: Log,
    /// From start until all workers were online.
    pub startup: Duration,
    /// Seen below the primary at some time; they must not outlive this.
    processes: Vec<Process>,
    directory: tempfile::TempDir,
}

impl Cluster {
    pub fn primary(&self) -> u32 {
        self.child.id()
    }

    /// All processes below the primary, which is the last chance to see them
    /// when it is about to end.
    pub fn remember(&mut self) -> Vec<Process> {
        let now = proc::descendants(self.primary());
        self.processes.extend(&now);
        now
    }

    pub fn log(&self) -> Vec<String> {
        self.log.lines()
    }

    pub async fn worker_list(&self) -> Option<WorkerList> {
        let answer = self.client.get("/cluster/workers").await.ok()?;
        serde_json::from_slice(&answer.body).ok()
    }

    /// The worker processes that there are now.
    pub async fn workers(&self) -> Vec<WorkerProcess> {
        let list = self.worker_list().await;
        let workers = list.into_iter().flat_map(|list| list.workers);
        workers.filter_map(|worker| Some(WorkerProcess { id: worker.id.0, pid: worker.pid? })).collect()
    }

    /// Waits until every worker is online.
    pub async fn all_online(&self, limit: Duration) -> Option<WorkerList> {
        eventually(limit, || async {
            let list = self.worker_list().await?;
            let online = list.workers.iter().all(|worker| worker.state == WorkerState::Online);
            (online && list.count > 0).then_some(list)
        })
        .await
    }

    /// Waits until worker `old.id` is online as another process.
    pub async fn replaced(&self, old: WorkerProcess, limit: Duration) -> Option<WorkerProcess> {
        eventually(limit, || async {
            let list = self.worker_list().await?;
            let slot = list.workers.iter().find(|worker| worker.id.0 == old.id)?;
            let pid = slot.pid.filter(|&pid| pid != old.pid)?;
            (slot.state == WorkerState::Online).then_some(WorkerProcess { id: old.id, pid })
        })
        .await
    }

    pub fn signal(&self, signal: Signal) {
        proc::signal(self.primary(), signal);
    }

    /// Waits until the primary has ended.
    pub async fn ended(&mut self, limit: Duration) -> Option<ExitStatus> {
        let began = Instant::now();
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            if began.elapsed() >= limit {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Waits until the control socket says where the cluster listens.
    async fn listening(&mut self) -> Result<Listening, ClusterError> {
        let control = shared_http_client::Client::new(self.directory.path().join(CONTROL), CONTROL_LIMITS);
        let began = Instant::now();
        loop {
            if let Ok(response) = control.send(Request::get("/status")).await
                && let Ok(listening) = response.json()
            {
                return Ok(listening);
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                self.log.complete().await;
                return Err(ClusterError::Ended { status, log: self.log.log_tail() });
            }
            if began.elapsed() >= START_LIMIT {
                return Err(ClusterError::Slow(self.log.log_tail()));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// What is read of a cluster's status.
#[derive(Deserialize)]
struct Listening {
    address: SocketAddr,
    /// As URLs; those that redirect come last.
    #[serde(default)]
    listeners: Vec<String>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.remember();
        // It may have ended, as several checks have it.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let began = Instant::now();
        while self.processes.iter().any(|one| one.is_alive()) && began.elapsed() < FOLLOW_LIMIT {
            thread::sleep(Duration::from_millis(2));
        }
        for process in self.processes.iter().filter(|one| one.is_alive()) {
            proc::signal(process.pid, Signal::KILL);
        }
    }
}
