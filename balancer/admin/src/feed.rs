//! What the dashboard is fed with: server-sent events (WHATWG HTML, section 9.2),
//! each of them made once for however many pages are open.
//!
//! A page gets `history`, the kept events and a `now` first; then a `now` each
//! second, and when something has happened an `event` at once and a `now` soon.
//! A page that reads too slowly to keep up gets all from the beginning again.

mod conditions;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Serialize;
use shared_protocol::problem::Problem;
use shared_protocol::{ClusterHealth, Maintenance, Sample, ShutdownPhase, WorkerList, WorkerRange};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc};
use tokio::time::{MissedTickBehavior, interval, sleep_until};

use super::http::Reply;
use super::maintenance;
use balancer_state::ClusterState;
use balancer_state::response::Response;
use balancer_state::samples::{EVERY, Sampler, Samples};
use conditions::Conditions;

const CONTENT_TYPE: &str = "text/event-stream";
/// Pages at the same time. Fewer than the listener has room for connections, so that
/// health and metrics can be read however many pages there are.
const PAGES: usize = 128;
/// Parts that may wait for the connection of one page.
const WAITING: usize = 2;
/// Messages that a page may be behind before it begins anew.
const BEHIND: usize = 16;
/// From an event to a `now` that shows it: what happens together is shown together.
const SOON: Duration = Duration::from_millis(100);
/// Tells the page to come back after a second when the stream has broken off.
const RETRY: &str = "retry: 1000\n\n";

/// The cluster at one moment.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Now<'a> {
    version: &'static str,
    address: &'a str,
    bundled: bool,
    uptime_seconds: u64,
    /// `null` while it is not shutting down.
    shutdown: Option<ShutdownPhase>,
    /// `null` while there is none.
    maintenance: Option<Maintenance>,
    health: ClusterHealth,
    /// The numbers of workers that the load chooses from.
    range: Option<WorkerRange>,
    #[serde(flatten)]
    list: WorkerList,
    sample: Option<Sample>,
    conditions: Conditions,
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

#[derive(Debug, Clone)]
pub struct Feed {
    pub samples: Arc<Samples>,
    about: Arc<About>,
    /// What is new, ready to be sent.
    messages: broadcast::Sender<Bytes>,
    room: Arc<Semaphore>,
}

impl Feed {
    pub fn new(about: About) -> Self {
        Self {
            samples: Arc::default(),
            about: Arc::new(about),
            messages: broadcast::Sender::new(BEHIND),
            room: Arc::new(Semaphore::new(PAGES)),
        }
    }

    /// Samples and tells for ever.
    pub async fn run(self, state: ClusterState) {
        let mut sampler = Sampler::default();
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut noted = state.events.watch();
        let mut told = 0;
        let mut soon = None;
        loop {
            let due = soon.unwrap_or_else(tokio::time::Instant::now);
            tokio::select! {
                _ = ticks.tick() => {
                    let entries = state.registry.entries();
                    let workers = entries.iter().filter_map(|entry| entry.worker.as_ref());
                    let in_flight = workers.map(|worker| worker.in_hand()).sum();
                    sampler.sample(&state.counters, in_flight, &self.samples);
                }
                changed = noted.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let events = events_since(&state, &mut told);
                    // Nobody may be looking.
                    let _ = self.messages.send(events.into());
                    soon.get_or_insert_with(|| tokio::time::Instant::now() + SOON);
                    continue;
                }
                () = sleep_until(due), if soon.is_some() => {}
            }
            soon = None;
            // The worker list costs system calls.
            if self.messages.receiver_count() > 0 {
                let _ = self.messages.send(self.now(&state).into());
            }
        }
    }

    /// A stream for one page.
    pub fn stream(&self, state: &ClusterState) -> Reply {
        let Ok(place) = Arc::clone(&self.room).try_acquire_owned() else {
            let detail = format!("{PAGES} dashboards are open already: close one of them");
            // Who is turned away is not to take up a connection either.
            let answer = Response::problem(Problem::new(503, detail));
            return answer.with("retry-after", 5).with("connection", "close").into();
        };
        let (parts, body) = mpsc::channel(WAITING);
        tokio::spawn(feed(self.clone(), state.clone(), parts, place));
        Reply::stream(CONTENT_TYPE, body)
    }

    /// All that a page needs that knows nothing yet.
    fn opening(&self, state: &ClusterState) -> Bytes {
        let history = message("history", &self.samples.all());
        [RETRY, &history, &events_since(state, &mut 0), &self.now(state)].concat().into()
    }

    fn now(&self, state: &ClusterState) -> String {
        let about = &self.about;
        let now = Now {
            version: env!("CARGO_PKG_VERSION"),
            address: &about.address,
            bundled: about.bundled,
            uptime_seconds: about.started.elapsed().as_secs(),
            shutdown: state.registry.shutdown(Instant::now()),
            maintenance: maintenance::now(&state.registry),
            health: state.registry.health(),
            range: state.registry.range(),
            list: state.registry.worker_list(Instant::now()),
            sample: self.samples.last(),
            conditions: Conditions::now(state),
        };
        message("now", &now)
    }
}

async fn feed(feed: Feed, state: ClusterState, parts: mpsc::Sender<Bytes>, _place: OwnedSemaphorePermit) {
    // Before the opening is made, so that nothing is missed in between. The page knows
    // events by their number, and does not mind hearing of one twice.
    let mut messages = feed.messages.subscribe();
    let mut next = feed.opening(&state);
    while parts.send(next).await.is_ok() {
        let message = tokio::select! {
            message = messages.recv() => message,
            () = parts.closed() => return,
        };
        next = match message {
            Ok(message) => message,
            Err(RecvError::Lagged(_)) => feed.opening(&state),
            Err(RecvError::Closed) => return,
        };
    }
}

/// The events after number `told`, which becomes that of the last one.
fn events_since(state: &ClusterState, told: &mut u64) -> String {
    let events = state.events.since(*told);
    *told = events.last().map_or(*told, |last| last.sequence);
    events.iter().map(|event| message("event", event)).collect()
}

fn message(name: &str, data: &impl Serialize) -> String {
    // JSON has no line breaks of its own, so one `data` field will do.
    let data = serde_json::to_string(data).expect("messages are structs that always serialise");
    format!("event: {name}\ndata: {data}\n\n")
}

#[cfg(test)]
mod tests {
    use shared_protocol::WorkerId;

    use super::*;
    use shared_protocol::EventKind as Kind;

    fn a_feed() -> Feed {
        let about = About { address: "127.0.0.1:1".to_owned(), bundled: true, started: Instant::now() };
        Feed::new(about)
    }

    #[tokio::test]
    async fn a_page_hears_of_an_event_at_once_and_a_slow_one_begins_anew() {
        let (fed, state) = (a_feed(), ClusterState::default());
        tokio::spawn(fed.clone().run(state.clone()));
        let place = || Arc::clone(&fed.room).try_acquire_owned().unwrap();
        let (parts, mut page) = mpsc::channel(1);
        tokio::spawn(feed(fed.clone(), state.clone(), parts, place()));
        let text = |bytes: Option<Bytes>| String::from_utf8(bytes.unwrap().to_vec()).unwrap();
        assert!(text(page.recv().await).starts_with("retry: 1000\n\nevent: history\ndata: ["));
        state.events.note(Kind::Crashed, Some(WorkerId(2)), Some(7), "a\nb");
        let heard = loop {
            let next = text(page.recv().await);
            if next.starts_with("event: event") {
                break next;
            }
        };
        assert_eq!(heard.matches('\n').count(), 3, "{heard}");
        assert!(heard.contains("\"kind\":\"crashed\",\"worker\":2,\"pid\":7,\"detail\":\"a b\""), "{heard}");
        (0..10 * BEHIND).for_each(|_| drop(fed.messages.send(Bytes::from_static(b"x"))));
        while !text(page.recv().await).contains("event: history") {}
    }

    #[tokio::test]
    async fn pages_leave_room_for_others_and_give_their_place_back() {
        let (fed, state) = (a_feed(), ClusterState::default());
        let mut pages: Vec<_> = (0..PAGES).map(|_| fed.stream(&state)).collect();
        assert_eq!(fed.room.available_permits(), 0);
        assert_eq!(fed.stream(&state).status(), 503);
        pages.pop();
        while fed.room.available_permits() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(fed.stream(&state).status(), 200);
    }
}
