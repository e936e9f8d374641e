//! The subcommands that talk to a running cluster over its control socket.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustix::event::{PollFd, PollFlags};
use serde::de::DeserializeOwned;
use shared_settings::definitions::{CONTROL, PORT};
use shared_settings::{Settings, default_control_path};
use tokio::net::UnixStream;

use shared_protocol::{Progress, Scale, Status};

use crate::cli::{Action, Recipient};
use crate::render::{self, Style};
use crate::watch;

/// An answer of the control socket has fewer bytes.
const ANSWER_LIMIT: usize = 16 * 1024 * 1024;
/// For the primary to answer at all.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Carries out `action`. What went wrong is the error.
///
/// # Errors
/// When no cluster could be reached, or it did not do what it was asked to.
pub fn run(action: &Action) -> anyhow::Result<ExitCode> {
    let (Action::Status { to, .. } | Action::Reload { to } | Action::Scale { to, .. } | Action::Stop { to }) =
        action;
    let path = socket(to)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut cluster = Cluster::connect(&path).await?;
        match action {
            Action::Status { watch: true, .. } => watch::run(cluster, &path, to.json).await,
            Action::Status { .. } => {
                let status: Status = cluster.read("/status").await?;
                if to.json {
                    print(&serde_json::to_string_pretty(&status)?)?;
                } else {
                    let style = Style { colour: render::may_colour(), width: None };
                    print(&render::status(&status, None, style).join("\n"))?;
                }
                Ok(ExitCode::SUCCESS)
            }
            Action::Reload { .. } => cluster.change("/reload", Bytes::new(), to.json).await,
            Action::Scale { workers, .. } => {
                let body = serde_json::to_vec(&Scale { workers: *workers })?;
                cluster.change("/scale", body.into(), to.json).await
            }
            Action::Stop { .. } => cluster.stop(to.json).await,
        }
    })
}

/// The path of the control socket that `to` means.
fn socket(to: &Recipient) -> anyhow::Result<PathBuf> {
    let settings = Settings::load(to.flags.clone())?;
    Ok(match settings.find(&CONTROL)? {
        Some(path) => path,
        None => default_control_path(settings.get(&PORT)?),
    })
}

/// A connection to a cluster's control socket.
pub(crate) struct Cluster {
    sender: SendRequest<Full<Bytes>>,
}

impl Cluster {
    pub(crate) async fn connect(path: &Path) -> anyhow::Result<Self> {
        let stream = UnixStream::connect(path).await.map_err(|err| match err.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => anyhow::anyhow!(
                "no cluster listens on {} (is it running? --port or --control says which one is meant)",
                path.display()
            ),
            _ => anyhow::anyhow!("could not reach the cluster on {}: {err}", path.display()),
        })?;
        let user = rustix::process::getuid();
        let peer = rustix::net::sockopt::socket_peercred(&stream)?;
        if peer.uid != user && !peer.uid.is_root() && !user.is_root() {
            bail!("{} belongs to another user's program", path.display());
        }
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // Its end is seen by whoever waits for an answer.
        tokio::spawn(connection);
        Ok(Self { sender })
    }

    async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> anyhow::Result<http::Response<Incoming>> {
        let request =
            Request::builder().method(method).uri(path).header("host", "control").body(Full::new(body))?;
        let answered = tokio::time::timeout(ANSWER_TIMEOUT, self.sender.send_request(request)).await;
        let answer =
            answered.context("the cluster does not answer")?.context("the cluster did not answer")?;
        if !answer.status().is_success() {
            let status = answer.status();
            bail!("the cluster answered {status}: {}", detail(answer, status).await);
        }
        Ok(answer)
    }

    pub(crate) async fn read<T: DeserializeOwned>(&mut self, path: &str) -> anyhow::Result<T> {
        let answer = self.send(Method::GET, path, Bytes::new()).await?;
        let body = Limited::new(answer.into_body(), ANSWER_LIMIT).collect().await;
        let body =
            body.map_err(|err| anyhow::anyhow!("could not read the cluster's answer: {err}"))?.to_bytes();
        serde_json::from_slice(&body)
            .context("the cluster's answer is not understood; is it of another version?")
    }

    /// Asks for a change and shows its steps until it is done.
    async fn change(&mut self, path: &str, body: Bytes, json: bool) -> anyhow::Result<ExitCode> {
        let mut answer = self.send(Method::POST, path, body).await?.into_body();
        let mut buffer = Vec::new();
        while let Some(frame) = answer.frame().await {
            let Ok(part) = frame.context("the cluster went away")?.into_data() else { continue };
            buffer.extend_from_slice(&part);
            while let Some(end) = buffer.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = buffer.drain(..=end).collect();
                let step: Progress = serde_json::from_slice(&line).context("a step is not understood")?;
                if json {
                    print(&String::from_utf8_lossy(&line))?;
                } else if let Some(text) = describe(&step) {
                    print(&text)?;
                }
                match step {
                    Progress::Done { .. } => return Ok(ExitCode::SUCCESS),
                    Progress::Failed { .. } if json => return Ok(ExitCode::FAILURE),
                    Progress::Failed { reason } => bail!("{reason}"),
                    _ => {}
                }
            }
        }
        bail!("the cluster ended before it was done")
    }

    /// Waits until the primary is gone.
    async fn stop(&mut self, json: bool) -> anyhow::Result<ExitCode> {
        let answer = self.send(Method::POST, "/stop", Bytes::new()).await?;
        let body = answer.into_body().collect().await?.to_bytes();
        let stopping: Stopping =
            serde_json::from_slice(&body).context("the cluster's answer is not understood")?;
        let pid =
            rustix::process::Pid::from_raw(stopping.pid).context("the cluster's answer is not understood")?;
        if !json {
            print(&format!("stopping (pid {})", stopping.pid))?;
        }
        // Readable when the process has ended (pidfd_open(2)); not there when it has already.
        if let Ok(process) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
            tokio::task::spawn_blocking(move || {
                while rustix::event::poll(&mut [PollFd::new(&process, PollFlags::IN)], None)
                    == Err(rustix::io::Errno::INTR)
                {}
            })
            .await?;
        }
        print(if json { "{\"event\":\"stopped\"}" } else { "stopped" })?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The answer to a request to stop.
#[derive(Debug, serde::Deserialize)]
struct Stopping {
    pid: i32,
}

async fn detail(answer: http::Response<Incoming>, status: StatusCode) -> String {
    let body = Limited::new(answer.into_body(), ANSWER_LIMIT).collect().await.map(|body| body.to_bytes());
    let problem: Option<serde_json::Value> = body.ok().and_then(|body| serde_json::from_slice(&body).ok());
    let detail = problem.as_ref().and_then(|problem| problem["detail"].as_str());
    detail.unwrap_or_else(|| status.canonical_reason().unwrap_or("no reason given")).to_owned()
}

/// Writes one line to standard output; a reader that has gone away is no failure.
fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()) {
        Err(err) if err.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

fn describe(step: &Progress) -> Option<String> {
    Some(match step {
        Progress::Started { worker, pid } => format!("worker {worker}  started   pid {pid}"),
        Progress::Ready { worker, pid, after_ms } => {
            format!("worker {worker}  ready     pid {pid}, after {after_ms} ms")
        }
        Progress::Switched { workers } => format!("{} from now on", takes(*workers)),
        Progress::Draining { worker, pid } => format!("worker {worker}  draining  pid {pid}"),
        Progress::Stopped { worker, pid } => format!("worker {worker}  stopped   pid {pid}"),
        Progress::Done { workers, after_ms } => {
            format!("done: {workers} {}, after {after_ms} ms", plural(*workers))
        }
        // The error says it.
        Progress::Failed { .. } => return None,
    })
}

fn plural(workers: usize) -> &'static str {
    if workers == 1 { "worker" } else { "workers" }
}

fn takes(workers: usize) -> String {
    let verb = if workers == 1 { "takes" } else { "take" };
    format!("{workers} new {} {verb} requests", plural(workers))
}
