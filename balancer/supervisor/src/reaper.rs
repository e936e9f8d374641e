//! Processes that this one has inherited. Whoever loses its parent in a container
//! becomes a child of process 1, and stays a zombie until that waits for it
//! (pid_namespaces(7)). Elsewhere a cluster of programs adopts what a killed
//! shim leaves behind (prctl(2), `PR_SET_CHILD_SUBREAPER`), and ends it.
//!
//! Workers are waited for by those who started them, so only others are taken.

use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{debug, warn};

use crate::process::Children;
use shared_process::tree::Processes;

/// Deaths that come within this time are dealt with together; a worker's own is
/// long known to its shim by then.
const GATHER: Duration = Duration::from_millis(50);

/// Takes care of what this process inherits, for ever; returns at once when it
/// inherits nothing. `started` are the children that others wait for, `programs`
/// says that somebody else's program runs.
pub async fn run(started: Children, programs: bool) {
    let first = std::process::id() == 1;
    if !first && !programs {
        return;
    }
    if !first && let Err(err) = rustix::process::set_child_subreaper(Some(rustix::process::getpid())) {
        return warn!(%err, "what a killed shim leaves behind will not be ended");
    }
    let mut deaths = match signal(SignalKind::child()) {
        Ok(deaths) => deaths,
        Err(err) => return warn!(%err, "orphans will not be reaped"),
    };
    while deaths.recv().await.is_some() {
        tokio::time::sleep(GATHER).await;
        while take(&started, !first) {
            tokio::time::sleep(GATHER).await;
        }
    }
}

/// Reaps the dead among what was inherited and, with `end`, kills the living,
/// which as process 1 may be anybody's. Says whether some are left to be reaped.
pub fn take(started: &Children, end: bool) -> bool {
    let mut left = false;
    for (pid, dead) in Processes::now().children_of(std::process::id()) {
        let Some(orphan) = Pid::from_raw(pid.cast_signed()).filter(|_| !started.contains(pid)) else {
            continue;
        };
        if dead {
            let reaped = rustix::process::waitpid(Some(orphan), WaitOptions::NOHANG);
            debug!(pid, ?reaped, "reaped an orphan");
        } else if end {
            let killed = rustix::process::kill_process(orphan, Signal::KILL);
            debug!(pid, ?killed, "killed an orphan");
            left = true;
        }
    }
    left
}
