//! Looks at processes that take their time to get ready, from outside: what they listen on
//! and whether they are busy. At most once a second each, in a thread that nothing waits
//! for, and only while they are starting.

use std::net::SocketAddr;
use std::time::Duration;

use shared_process::sockets::{self, Named, TreeSockets};
use shared_process::tree::{self, Processes};
use shared_protocol::Generation;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

/// When a process is looked at that is not ready yet; sooner where it has less time to
/// get ready.
const FIRST: Duration = Duration::from_secs(3);
/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// The part of its time to get ready after which a process is looked at, at the latest.
const PART: f64 = 0.7;
/// A process is busy that wants to run for this share of the time.
const BUSY: f64 = 0.5;

/// Who is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Subject {
    /// The bundled worker, or the shim above a program.
    pub root: u32,
    pub is_shim: bool,
    /// Where it is to listen, if it was told.
    pub asked: Option<SocketAddr>,
    /// How long it may take to get ready.
    pub startup_timeout: Duration,
}

/// What was seen of a process and all that it has started.
#[derive(Debug, Clone, Default)]
pub struct Look {
    pub(crate) sockets: TreeSockets,
    /// Who listens where it is to listen, if that is somebody else.
    pub(crate) holder: Option<Named>,
    /// It has used or wanted the processor most of the time since the last look.
    pub(crate) is_busy: bool,
}

/// Looks until aborted.
pub(crate) async fn run(subject: Subject, generation: Generation, looks: mpsc::Sender<(Generation, Look)>) {
    let first = FIRST.min(subject.startup_timeout.mul_f64(PART));
    let pause = EVERY.min(first / 2);
    sleep(first - pause).await;
    let mut before = (Instant::now(), spawn_blocking(move || demand(subject)).await.unwrap_or_default());
    sleep(pause).await;
    loop {
        let now = Instant::now();
        // A panic there says nothing of the process.
        let Ok(mut look) = spawn_blocking(move || look(subject)).await else { return };
        let wanted = look.sockets.demand.saturating_sub(before.1);
        look.is_busy = wanted.as_secs_f64() >= BUSY * now.duration_since(before.0).as_secs_f64();
        before = (now, look.sockets.demand);
        if looks.send((generation, look)).await.is_err() {
            return;
        }
        sleep(EVERY).await;
    }
}

fn demand(Subject { root, is_shim, .. }: Subject) -> Duration {
    let below = Processes::now().demand_below(root).0;
    if is_shim { below } else { below + tree::demand(root).map_or(Duration::ZERO, |(time, _)| time) }
}

fn look(Subject { root, is_shim, asked, .. }: Subject) -> Look {
    let sockets = sockets::of_tree(root, !is_shim);
    let is_own = |asked| sockets.tcp.iter().any(|listener| sockets::covers(listener.address, asked));
    let holder = asked.filter(|&asked| !is_own(asked)).and_then(sockets::holder_of);
    Look { sockets, holder, is_busy: false }
}
