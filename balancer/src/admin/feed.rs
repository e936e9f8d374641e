//! What the dashboard is fed with: server-sent events (WHATWG HTML, section 9.2),
//! made once a second for however many pages are open.
//!
//! A page gets `history` and the kept events first, and then a `now` each second
//! and an `event` when something has happened.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use serde::Serialize;
use shared::protocol::{ClusterHealth, WorkerList};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};

use super::http::Reply;
use crate::history::{EVERY, History, Sample, Sampler};
use crate::supervisor::Boards;

const CONTENT_TYPE: &str = "text/event-stream";
/// Parts that may wait for a page that reads slowly; it misses seconds, not the
/// connection.
const WAITING: usize = 2;

/// The cluster at one moment.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Now<'a> {
    version: &'static str,
    address: &'a str,
    bundled: bool,
    uptime_seconds: u64,
    health: ClusterHealth,
    #[serde(flatten)]
    list: WorkerList,
    sample: &'a Sample,
}

#[derive(Debug, Clone)]
pub struct Feed {
    history: Arc<History>,
    /// The newest `now`, ready to be sent.
    now: watch::Sender<Bytes>,
}

impl Default for Feed {
    fn default() -> Self {
        Self { history: Arc::default(), now: watch::Sender::new(Bytes::new()) }
    }
}

/// What a [`Now`] says that does not change.
#[derive(Debug, Clone)]
pub struct About {
    /// Where clients connect.
    pub address: String,
    /// The bundled worker runs, and its routes can be tried.
    pub bundled: bool,
    pub started: Instant,
}

impl Feed {
    /// Samples for ever.
    pub async fn run(self, boards: Boards, about: About) {
        let mut sampler = Sampler::default();
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let in_flight = boards.pool.ready().iter().map(|worker| worker.in_flight()).sum();
            let sample = sampler.sample(&boards.metrics, in_flight, &self.history);
            // The worker list costs system calls; nobody may be looking.
            if self.now.receiver_count() > 0 {
                let now = Now {
                    version: env!("CARGO_PKG_VERSION"),
                    address: &about.address,
                    bundled: about.bundled,
                    uptime_seconds: about.started.elapsed().as_secs(),
                    health: boards.roster.health(),
                    list: boards.roster.worker_list(Instant::now()),
                    sample: &sample,
                };
                self.now.send_replace(message("now", &now));
            }
        }
    }

    /// A stream for one page.
    pub fn stream(&self, boards: &Boards) -> Reply {
        let (parts, body) = mpsc::channel(WAITING);
        tokio::spawn(feed(self.clone(), boards.clone(), parts));
        Reply::stream(CONTENT_TYPE, body)
    }
}

async fn feed(feed: Feed, boards: Boards, parts: mpsc::Sender<Bytes>) {
    let (mut now, mut last) = (feed.now.subscribe(), boards.journal.watch());
    let mut sent = 0;
    if parts.send(message("history", &feed.history.all())).await.is_err() {
        return;
    }
    loop {
        last.mark_unchanged();
        for event in boards.journal.since(sent) {
            sent = event.sequence;
            if parts.send(message("event", &event)).await.is_err() {
                return;
            }
        }
        tokio::select! {
            changed = now.changed() => {
                let next = now.borrow_and_update().clone();
                if changed.is_err() || parts.send(next).await.is_err() {
                    return;
                }
            }
            changed = last.changed() => if changed.is_err() { return },
            () = parts.closed() => return,
        }
    }
}

fn message(name: &str, data: &impl Serialize) -> Bytes {
    let data = serde_json::to_string(data).expect("messages are structs that always serialise");
    format!("event: {name}\ndata: {data}\n\n").into()
}
