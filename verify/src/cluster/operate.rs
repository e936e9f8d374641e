//! What an operator does to a running cluster: the balancer's own subcommands.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::{CONTROL, Cluster, guard};
use crate::verdict::{Verdict, seconds};

/// Bad usage, with which a balancer answers that knows no such subcommand.
const USAGE: i32 = 2;

/// How a subcommand ended.
#[derive(Debug)]
pub struct Operated {
    /// `None` when it was killed.
    pub code: Option<i32>,
    pub took: Duration,
    /// What it said on standard error.
    pub said: String,
}

/// Killed when dropped, as it is when a check is interrupted.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended, unless the check did.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs `balancer ARGUMENTS --control PATH` on `cluster`, at most `limit` long.
///
/// # Errors
/// Inconclusive when the balancer has no such subcommand or cannot be started;
/// failed when it did not end in time.
pub async fn operate(
    balancer: &Path,
    cluster: &Cluster,
    arguments: &[&str],
    limit: Duration,
) -> Result<Operated, Verdict> {
    let what = arguments.join(" ");
    let unable = |err: std::io::Error| Verdict::inconclusive(format!("could not run balancer {what}: {err}"));
    let directory = cluster.directory.path();
    // A file takes any amount without a reader.
    let errors = directory.join("operate.err");
    let stderr = std::fs::File::create(&errors).map_err(unable)?;
    let began = Instant::now();
    let mut running = Running(
        guard::command(balancer)
            .args(arguments)
            .args([OsStr::new("--control"), directory.join(CONTROL).as_os_str()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .map_err(unable)?,
    );
    let status = loop {
        if let Some(status) = running.0.try_wait().map_err(unable)? {
            break status;
        }
        if began.elapsed() >= limit {
            let figure = format!("balancer {what} had not ended after {}", seconds(limit));
            return Err(Verdict::failed(figure, format!("within {}", seconds(limit)), cluster.log()));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let took = began.elapsed();
    let said = std::fs::read_to_string(&errors).unwrap_or_default().trim().to_owned();
    if status.code() == Some(USAGE) {
        return Err(Verdict::inconclusive(format!("the balancer has no `{what} --control PATH`: {said}")));
    }
    Ok(Operated { code: status.code(), took, said })
}
