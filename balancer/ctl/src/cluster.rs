//! A connection to the control socket of a running cluster.

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags};
use serde::de::DeserializeOwned;
use shared_http_client::{Address, Connection, Limits, Request, Response, Streaming};
use shared_protocol::Progress;
use shared_protocol::problem::Problem;
use tokio::net::UnixStream;

use crate::render::{describe, print};

/// For the primary to answer at all, and the bytes of its answer.
const LIMITS: Limits = Limits::new(Duration::from_secs(10), 16 * 1024 * 1024);
pub(crate) const NOT_UNDERSTOOD: &str = "the cluster's answer is not understood; is it of another version?";

pub(crate) struct Cluster {
    connection: Connection,
}

impl Cluster {
    /// # Errors
    /// When no cluster listens on `path`, or another user's program does.
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
        let connection = Connection::over(stream, &Address::from(path), LIMITS).await?;
        Ok(Self { connection })
    }

    /// The value at `path`, such as `/status`.
    pub(crate) async fn read<T: DeserializeOwned>(&mut self, path: &str) -> anyhow::Result<T> {
        let response =
            self.connection.send(Request::get(path)).await.context("the cluster did not answer")?;
        serde_json::from_slice(&accepted(response)?.body).context(NOT_UNDERSTOOD)
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
                Progress::Done { .. } => return Ok(ExitCode::SUCCESS),
                Progress::Failed { .. } if json => return Ok(ExitCode::FAILURE),
                Progress::Failed { reason } => bail!("{reason}"),
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
        let pid = Pid::from_raw(stopping.pid).context(NOT_UNDERSTOOD)?;
        if !json {
            print(&format!("stopping (pid {})", stopping.pid))?;
        }
        // Readable when the process has ended (pidfd_open(2)); not there when it has already.
        if let Ok(process) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            let wait = move || {
                while rustix::event::poll(&mut [PollFd::new(&process, PollFlags::IN)], None)
                    == Err(rustix::io::Errno::INTR)
                {}
            };
            tokio::task::spawn_blocking(wait).await?;
        }
        print(if json { "{\"event\":\"stopped\"}" } else { "stopped" })?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The response to a request to stop.
#[derive(Debug, serde::Deserialize)]
struct Stopping {
    pid: i32,
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
