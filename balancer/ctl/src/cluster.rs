//! A connection to the control socket of a running cluster.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags};
use serde::de::DeserializeOwned;
use shared_http_client::{Address, ClientError, Connection, Limits, Request, Response, Streaming};
use shared_protocol::problem::Problem;
use shared_protocol::{Progress, Status, Stopping};
use tokio::net::UnixStream;

use crate::peer::{Peer, Stranger, own_user};
use crate::render::{describe, print};

/// For the primary to answer at all, and the bytes of its answer.
const LIMITS: Limits = Limits::new(Duration::from_secs(10), 16 * 1024 * 1024);
pub(crate) const NOT_UNDERSTOOD: &str = "the cluster's answer is not understood; is it of another version?";

pub(crate) struct Cluster {
    connection: Connection,
    /// The socket that has led to it.
    pub(crate) path: PathBuf,
    pub(crate) peer: Peer,
}

/// Why a control socket does not lead to a cluster.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("nobody listens on {}", .0.display())]
    Nobody(PathBuf),
    #[error("{} is not a socket", .0.display())]
    NoSocket(PathBuf),
    #[error("the cluster on {} takes no connections: is it stopped or hung?", .0.display())]
    Full(PathBuf),
    #[error("could not reach the cluster on {}: {reason}", path.display())]
    Io { path: PathBuf, reason: io::Error },
    #[error(transparent)]
    Stranger(#[from] Stranger),
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl ConnectError {
    /// There is nobody.
    pub(crate) fn is_absence(&self) -> bool {
        matches!(self, Self::Nobody(_))
    }
}

impl Cluster {
    /// # Errors
    /// When no cluster listens on `path`, or another user's program does.
    pub(crate) async fn connect(path: &Path) -> Result<Self, ConnectError> {
        Self::connect_to(path, None).await
    }

    /// As [`Self::connect`]. Root also believes `known`, a process that was found by what it
    /// serves and not by this path.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub(crate) async fn connect_to(path: &Path, known: Option<u32>) -> Result<Self, ConnectError> {
        let stream = UnixStream::connect(path).await.map_err(|reason| {
            let path = path.to_owned();
            match reason.kind() {
                io::ErrorKind::ConnectionRefused if !is_socket(&path) => ConnectError::NoSocket(path),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ConnectError::Nobody(path),
                io::ErrorKind::WouldBlock => ConnectError::Full(path),
                _ => ConnectError::Io { path, reason },
            }
        })?;
        let peer = Peer::of(&stream).map_err(|reason| ConnectError::Io { path: path.to_owned(), reason })?;
        if own_user() != 0 || known != Some(peer.pid) {
            peer.check(path, own_user())?;
        }
        let connection = Connection::over(stream, &Address::from(path), LIMITS).await?;
        Ok(Self { connection, path: path.to_owned(), peer })
    }

    /// As [`Self::connect_to`], for a socket of a process that may have others as well: it is
    /// a control socket only if it answers as one.
    ///
    /// # Errors
    /// As [`Self::connect`], and when somebody else answers.
    pub(crate) async fn confirmed(path: &Path, known: u32) -> Result<Self, ConnectError> {
        let mut cluster = Self::connect_to(path, Some(known)).await?;
        match cluster.read::<Status>("/status").await {
            Ok(_) => Ok(cluster),
            Err(_) => Err(ConnectError::Nobody(path.to_owned())),
        }
    }

    /// It is not the one that is meant after all.
    pub(crate) fn into_stranger(self) -> ConnectError {
        Stranger::new(&self.path, self.peer).into()
    }

    /// The response to `GET path`, whatever its status.
    pub(crate) async fn get(&mut self, path: &str) -> Result<Response, ClientError> {
        self.connection.send(Request::get(path)).await
    }

    /// The value at `path`, such as `/status`.
    pub(crate) async fn read<T: DeserializeOwned>(&mut self, path: &str) -> anyhow::Result<T> {
        let response =
            self.connection.send(Request::get(path)).await.context("the cluster did not answer")?;
        serde_json::from_slice(&accepted(response)?.body).context(NOT_UNDERSTOOD)
    }

    /// The response to `request`.
    ///
    /// # Errors
    /// When there is none, or it tells of a problem.
    pub(crate) async fn ask(&mut self, request: Request) -> anyhow::Result<Response> {
        accepted(self.connection.send(request).await.context("the cluster did not answer")?)
    }

    /// Asks for a change, and shows its steps until it is done.
    pub(crate) async fn change(&mut self, request: Request, json: bool) -> anyhow::Result<ExitCode> {
        let mut steps = self.connection.stream(request).await.context("the cluster did not answer")?;
        if !steps.status.is_success() {
            accepted(steps.collect().await?)?;
            bail!(NOT_UNDERSTOOD);
        }
        while let Some(line) = steps.line().await.context("the cluster went away")? {
            match show(&line, json)? {
                Progress::Done { .. } | Progress::Upgraded(_) => return Ok(ExitCode::SUCCESS),
                Progress::Failed { .. } if json => return Ok(ExitCode::FAILURE),
                Progress::Failed { reason, last_lines } => {
                    let text = if last_lines.is_empty() { reason } else { reason + "; it printed last:" };
                    bail!(last_lines.iter().fold(text, |text, line| format!("{text}\n  {line}")))
                }
                _ => {}
            }
        }
        bail!("the cluster ended before it was done")
    }

    /// Asks for lines, which may come for as long as the cluster runs.
    pub(crate) async fn lines(&mut self, path: &str) -> anyhow::Result<Streaming<'_>> {
        let lines = self.connection.stream(Request::get(path)).await.context("the cluster did not answer")?;
        if !lines.status.is_success() {
            accepted(lines.collect().await?)?;
            bail!(NOT_UNDERSTOOD);
        }
        Ok(lines)
    }

    /// Asks the primary to stop, and waits until it is gone.
    pub(crate) async fn stop(&mut self, json: bool) -> anyhow::Result<ExitCode> {
        let response = self.connection.send(Request::post_empty("/stop")).await;
        let response = accepted(response.context("the cluster did not answer")?)?;
        let stopping: Stopping = serde_json::from_slice(&response.body).context(NOT_UNDERSTOOD)?;
        if !json {
            print(&announcement(&stopping))?;
        }
        for pid in [Some(stopping.pid), stopping.successor].into_iter().flatten() {
            let pid = Pid::from_raw(pid.cast_signed()).context(NOT_UNDERSTOOD)?;
            // Readable when the process has ended (pidfd_open(2)); not there when it has already.
            if let Ok(process) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
                let wait = move || {
                    while rustix::event::poll(&mut [PollFd::new(&process, PollFlags::IN)], None)
                        == Err(rustix::io::Errno::INTR)
                    {}
                };
                tokio::task::spawn_blocking(wait).await?;
            }
        }
        match stopping {
            _ if !json => print("stopped")?,
            Stopping { successor: None, .. } => print("{\"event\":\"stopped\"}")?,
            Stopping { pid, successor, .. } => {
                let stopped = serde_json::json!({"event": "stopped", "pid": pid, "successor": successor});
                print(&stopped.to_string())?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What a stop leads to, for a person.
fn announcement(stopping: &Stopping) -> String {
    match *stopping {
        Stopping { pid, successor: None, .. } => format!("stopping (pid {pid})"),
        Stopping { pid, successor: Some(successor), succeeded: true } => {
            format!("stopping (pid {successor}; pid {pid}, which it has succeeded, ends already)")
        }
        Stopping { pid, successor: Some(successor), succeeded: false } => format!(
            "stopping (pid {pid}); the upgrade in progress is abandoned: pid {successor}, which was to \
             succeed it, ends as well"
        ),
    }
}

/// Is there a socket at the end of `path`?
fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    std::fs::metadata(path).is_ok_and(|found| found.file_type().is_socket())
}

/// Prints one step of a change, and returns it.
fn show(line: &Bytes, json: bool) -> anyhow::Result<Progress> {
    let step: Progress = serde_json::from_slice(line).context("a step is not understood")?;
    if json {
        print(&String::from_utf8_lossy(line))?;
    } else if let Some(text) = describe(&step) {
        print(&text)?;
    }
    Ok(step)
}

/// The response, unless it tells of a problem, which is the error then.
fn accepted(response: Response) -> anyhow::Result<Response> {
    let status = response.status;
    if status.is_success() {
        return Ok(response);
    }
    let problem: Option<Problem> = serde_json::from_slice(&response.body).ok();
    let detail = problem.map(|problem| problem.detail);
    let detail = detail.as_deref().or(status.canonical_reason()).unwrap_or("no reason given");
    bail!("the cluster answered {status}: {detail}")
}
