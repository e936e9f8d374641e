//! Reaping as process 1. Whoever loses its parent in a container becomes a child
//! of process 1, and stays a zombie until that waits for it (pid_namespaces(7)).
//! Workers are waited for by those who started them, so only others are taken.

use std::time::Duration;

use rustix::process::{Pid, WaitOptions};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{debug, warn};

use crate::processes::Processes;
use crate::supervisor::process::Children;

/// Deaths that come within this time are dealt with together; a worker's own is
/// long known to its keeper by then.
const GATHER: Duration = Duration::from_millis(50);

/// Reaps what this process has inherited, for ever; returns at once unless it is
/// process 1. `started` are the children that others wait for.
pub async fn run(started: Children) {
    if std::process::id() != 1 {
        return;
    }
    let mut deaths = match signal(SignalKind::child()) {
        Ok(deaths) => deaths,
        Err(err) => return warn!(%err, "orphans will not be reaped"),
    };
    while deaths.recv().await.is_some() {
        tokio::time::sleep(GATHER).await;
        let dead = Processes::now().zombies_of(1);
        for pid in dead.into_iter().filter(|&pid| !started.contains(pid)) {
            let reaped = Pid::from_raw(pid.cast_signed())
                .map(|pid| rustix::process::waitpid(Some(pid), WaitOptions::NOHANG));
            debug!(pid, ?reaped, "reaped an orphan");
        }
    }
}
