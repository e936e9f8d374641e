//! Keeps the wanted number of workers running: one task that owns all slots and
//! is the only writer of the [`Pool`] and the [`Roster`].
//!
//! What happens to processes and probes arrives as events, what to do about it
//! is decided by [`slot`] without touching the system, and carried out here.

pub mod backoff;
pub mod output;
pub mod probe;
pub mod process;
pub mod slot;

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shared::protocol::{Generation, StoreHealth, WorkerId, WorkerRef};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tracing::{debug, error, info, warn};

use crate::pool::{Pool, Worker};
use crate::roster::{Entry, Roster};
use probe::{Outcome, Probing};
use process::{Launcher, Process, Report};
use slot::{Action, Event, Limits, Slot};

/// Reports that may wait for the supervisor; more make their senders wait.
const QUEUED_EVENTS: usize = 256;

/// How long the last words of the last worker may take.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// What the supervisor can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Stop all workers, giving each the kill timeout.
    Stop,
    /// Stop all workers at once.
    Kill,
}

#[derive(Debug)]
pub struct Supervisor {
    launcher: Launcher,
    probing: Probing,
    pool: Arc<Pool>,
    roster: Arc<Roster>,
    slots: Vec<Slot>,
    /// The process in each slot, same order as `slots`.
    posts: Vec<Option<Post>>,
    /// Copies of what the workers print; they outlive a process by its last words.
    relays: JoinSet<()>,
    generations: u64,
    announced: bool,
    stopping: bool,
    started: Instant,
}

/// A process at its slot.
#[derive(Debug)]
struct Post {
    process: Process,
    launched: Instant,
    /// From the moment it has told its port.
    worker: Option<Arc<Worker>>,
    probes: Option<JoinHandle<()>>,
    store: Option<StoreHealth>,
    /// Why the last probe of a starting worker was missed.
    not_ready: Option<String>,
}

impl Drop for Post {
    fn drop(&mut self) {
        if let Some(probes) = &self.probes {
            probes.abort();
        }
    }
}

/// Senders for what processes and probes have to say.
struct Inbox {
    reports: mpsc::Sender<(Generation, Report)>,
    outcomes: mpsc::Sender<(Generation, Outcome)>,
}

impl Supervisor {
    /// Knows its slots from the beginning, so that requests which come before
    /// [`Self::run`] wait for the first worker.
    pub fn new(
        launcher: Launcher,
        probing: Probing,
        limits: Limits,
        pool: Arc<Pool>,
        roster: Arc<Roster>,
    ) -> Self {
        let now = Instant::now();
        let slots: Vec<_> = (1..=launcher.workers).map(|id| Slot::new(WorkerId(id), limits, now)).collect();
        let mut supervisor = Self {
            launcher,
            probing,
            pool,
            roster,
            posts: slots.iter().map(|_| None).collect(),
            slots,
            relays: JoinSet::new(),
            generations: 0,
            announced: false,
            stopping: false,
            started: now,
        };
        supervisor.publish();
        supervisor
    }

    /// Starts the workers and looks after them until told to stop, and then
    /// until the last of them is reaped. A closed `orders` counts as [`Order::Kill`].
    pub async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        let (reports, mut reported) = mpsc::channel(QUEUED_EVENTS);
        let (outcomes, mut probed) = mpsc::channel(QUEUED_EVENTS);
        let inbox = Inbox { reports, outcomes };
        for index in 0..self.slots.len() {
            self.launch(index, &inbox);
        }
        loop {
            self.publish();
            if self.stopping && self.slots.iter().all(Slot::is_stopped) {
                break;
            }
            let due = self.slots.iter().filter_map(Slot::due).min();
            tokio::select! {
                biased;
                order = orders.recv() => self.obey(order.unwrap_or(Order::Kill), &inbox),
                Some((generation, report)) = reported.recv() => self.on_report(generation, report, &inbox),
                () = sleep_until(due) => self.on_due(&inbox),
                Some((generation, outcome)) = probed.recv() => self.on_probe(generation, outcome, &inbox),
            }
            // Forgets those that are done.
            while self.relays.try_join_next().is_some() {}
        }
        // A worker's child may hold its output open for ever.
        let _ = timeout(LAST_WORDS, self.relays.join_all()).await;
    }

    fn obey(&mut self, order: Order, inbox: &Inbox) {
        self.stopping = true;
        let event = match order {
            Order::Stop => Event::Stop,
            Order::Kill => Event::Kill,
        };
        for index in 0..self.slots.len() {
            self.send(index, event, inbox);
        }
    }

    fn on_report(&mut self, generation: Generation, report: Report, inbox: &Inbox) {
        let Some(index) = self.index_of(generation) else { return };
        match report {
            Report::Listening { port } => self.on_listening(index, port, inbox),
            Report::CouldNotStart { reason } => {
                error!(worker = %self.slots[index].id, "could not start: {reason}");
            }
            Report::Exited { status } => {
                self.log_exit(index, status.as_ref().ok());
                self.send(index, Event::Exited { jitter: fastrand::f64() }, inbox);
                self.log_backoff(index);
            }
        }
    }

    fn on_listening(&mut self, index: usize, port: u16, inbox: &Inbox) {
        let id = self.slots[index].id;
        let Some(post) = &mut self.posts[index] else { return };
        let (pid, generation) = (post.process.pid, post.process.generation);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        post.worker = Some(Arc::new(Worker::new(id, pid, generation, address)));
        post.probes = Some(tokio::spawn(probe::run(
            address,
            WorkerRef::new(id, pid),
            generation,
            self.probing.clone(),
            inbox.outcomes.clone(),
        )));
        self.send(index, Event::Listening, inbox);
    }

    fn on_probe(&mut self, generation: Generation, outcome: Outcome, inbox: &Inbox) {
        let Some(index) = self.index_of(generation) else { return };
        let id = self.slots[index].id;
        let healthy = match outcome {
            Outcome::Healthy { store } => {
                if let Some(post) = &mut self.posts[index] {
                    post.store = store;
                }
                true
            }
            Outcome::Missed { why } if self.slots[index].online_since().is_some() => {
                warn!(worker = %id, "missed a health probe: {why}");
                false
            }
            Outcome::Missed { why } => {
                debug!(worker = %id, "not ready yet: {why}");
                if let Some(post) = &mut self.posts[index] {
                    post.not_ready = Some(why);
                }
                false
            }
            Outcome::Unknown { why } => {
                warn!(worker = %id, "could not be probed: {why}");
                return;
            }
        };
        self.send(index, Event::Probe { healthy }, inbox);
        self.eject_suspects(inbox);
    }

    fn eject_suspects(&mut self, inbox: &Inbox) {
        for index in 0..self.slots.len() {
            let id = self.slots[index].id;
            if self.slots[index].is_suspect() && slot::may_eject(&self.slots, id) {
                warn!(worker = %id, "is hung: taken out and replaced");
                self.send(index, Event::Eject, inbox);
            }
        }
    }

    fn on_due(&mut self, inbox: &Inbox) {
        for index in 0..self.slots.len() {
            let was_starting = self.slots[index].is_starting();
            self.send(index, Event::Due, inbox);
            if was_starting && !self.slots[index].is_starting() {
                let post = self.posts[index].as_ref();
                let why =
                    post.and_then(|post| post.not_ready.as_deref()).unwrap_or("it has not told its port");
                warn!(worker = %self.slots[index].id, "not ready in time, started again: {why}");
            }
        }
    }

    fn send(&mut self, index: usize, event: Event, inbox: &Inbox) {
        let actions = self.slots[index].handle(event, Instant::now());
        self.carry_out(index, actions, inbox);
    }

    fn carry_out(&mut self, index: usize, actions: Vec<Action>, inbox: &Inbox) {
        let id = self.slots[index].id;
        for action in actions {
            match (action, &self.posts[index]) {
                (Action::Launch, _) => self.launch(index, inbox),
                (Action::Publish, Some(Post { worker: Some(worker), launched, .. })) => {
                    self.pool.publish(Arc::clone(worker));
                    let after = millis(launched.elapsed());
                    info!(worker = %id, pid = worker.pid, port = worker.address.port(), after_ms = after, "online");
                }
                (Action::Withdraw, Some(post)) => self.pool.withdraw(post.process.generation),
                (Action::Terminate, Some(post)) => post.process.terminate(),
                (Action::Kill, Some(post)) => {
                    if !self.stopping {
                        warn!(worker = %id, pid = post.process.pid, "did not stop in time: killed");
                    }
                    post.process.kill();
                }
                // Nothing runs in this slot.
                (Action::Publish | Action::Withdraw | Action::Terminate | Action::Kill, _) => {}
            }
        }
    }

    fn launch(&mut self, index: usize, inbox: &Inbox) {
        let id = self.slots[index].id;
        self.generations += 1;
        match self.launcher.launch(id, Generation(self.generations), inbox.reports.clone(), &mut self.relays)
        {
            Ok(process) => {
                debug!(worker = %id, pid = process.pid, generation = self.generations, "started");
                let launched = Instant::now();
                self.posts[index] = Some(Post {
                    process,
                    launched,
                    worker: None,
                    probes: None,
                    store: None,
                    not_ready: None,
                });
            }
            Err(err) => {
                error!(worker = %id, %err, "could not be started");
                self.posts[index] = None;
                self.send(index, Event::LaunchFailed { jitter: fastrand::f64() }, inbox);
            }
        }
    }

    fn log_exit(&mut self, index: usize, status: Option<&ExitStatus>) {
        let id = self.slots[index].id;
        let how = status.map_or_else(|| "in an unknown way".to_owned(), ToString::to_string);
        let pid = self.posts[index].as_ref().map(|post| post.process.pid);
        if self.stopping && status.is_some_and(ExitStatus::success) {
            debug!(worker = %id, pid, "stopped: {how}");
        } else {
            warn!(worker = %id, pid, "ended: {how}");
        }
    }

    /// After an exit: forget the process unless a new one has taken its place.
    fn log_backoff(&mut self, index: usize) {
        if self.slots[index].is_starting() {
            return;
        }
        self.posts[index] = None;
        if let Some(at) = self.slots[index].starts_at() {
            let wait_ms = millis(at.saturating_duration_since(Instant::now()));
            warn!(worker = %self.slots[index].id, wait_ms, "keeps ending: waits before its next start");
        }
    }

    fn index_of(&self, generation: Generation) -> Option<usize> {
        self.posts
            .iter()
            .position(|post| post.as_ref().is_some_and(|post| post.process.generation == generation))
    }

    fn publish(&mut self) {
        self.pool.set_next_start(self.slots.iter().filter_map(Slot::starts_at).min().map(Into::into));
        let entries = self.slots.iter().zip(&self.posts).map(|(slot, post)| Entry {
            id: slot.id,
            state: slot.state(),
            pid: post.as_ref().map(|post| post.process.pid),
            worker: post.as_ref().and_then(|post| post.worker.clone()),
            online_since: slot.online_since(),
            restarts: slot.restarts(),
            store: post.as_ref().and_then(|post| post.store.clone()),
        });
        self.roster.publish(entries.collect());
        let all_online = self.slots.iter().all(|slot| slot.online_since().is_some());
        if all_online && !self.announced {
            self.announced = true;
            info!(workers = self.slots.len(), after_ms = millis(self.started.elapsed()), "cluster ready");
        }
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
