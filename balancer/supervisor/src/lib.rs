//! Keeps the wanted number of workers running: one task that owns all slots and
//! is the only writer of the [`Pool`] and the [`Roster`].
//!
//! What happens to processes and probes arrives as events, what to do about it
//! is decided by [`slot`] without touching the system. This file is the loop;
//! `events` takes in what has happened, `actions` carries out what is decided, and
//! reloads, scaling and replacements are in [`change`].

mod actions;
pub mod backoff;
pub mod change;
mod events;
pub mod executable;
mod handle;
pub mod keeper;
pub mod notify;
pub mod output;
pub mod plan;
pub mod port;
pub mod probe;
pub mod process;
pub mod reaper;
pub mod recycle;
pub mod seat;
pub mod slot;

use std::time::{Duration, Instant};

use shared_protocol::{Generation, WorkerId};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{info, warn};

use balancer_state::ClusterState;
use balancer_state::registry::{Entry, Role};
use change::Change;
use executable::Executable;
pub use handle::{Handle, NotTaken};
use port::Custom;
use probe::{Outcome, Probing};
use process::{Launcher, Report};
use recycle::Recycling;
use seat::Seat;
use shared_protocol::Progress;
use slot::{Event, Limits, Slot};

/// Reports that may wait for the supervisor; more make their senders wait.
const QUEUED_EVENTS: usize = 256;
/// How long the last words of the last worker may take.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// How often a retired worker's requests in flight are counted.
const DRAIN_LOOK: Duration = Duration::from_millis(5);

/// Who is told how a change goes. Whoever does not listen misses something.
pub type ProgressSender = mpsc::Sender<Progress>;

/// What the supervisor can be told.
#[derive(Debug)]
pub enum Command {
    /// Replace all workers. Without a reply, one that comes while a change is
    /// under way is carried out after it.
    Reload { reply: Option<ProgressSender> },
    /// Change the number of workers.
    Scale { to: ScaleTo, reply: Option<ProgressSender> },
    /// Stop all workers, giving each the kill timeout.
    Stop,
    /// Stop all workers at once.
    Kill,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScaleTo {
    Exactly(usize),
    More(usize),
    Fewer(usize),
}

/// What the supervisor goes by.
#[derive(Debug, Clone)]
pub struct Settings {
    pub workers: usize,
    /// More than these find no room.
    pub most_workers: usize,
    pub probing: Probing,
    pub limits: Limits,
    pub recycling: Recycling,
    /// Workers of a reload that start at the same time.
    pub reload_parallel: usize,
}

#[derive(Debug)]
pub struct Supervisor {
    settings: Settings,
    launcher: Launcher,
    executable: Executable,
    ports: Custom,
    state: ClusterState,
    seats: Vec<Seat>,
    change: Change,
    /// Copies of what the workers print; they outlive a process by its last words.
    relays: JoinSet<()>,
    generations: u64,
    announced: bool,
    stopping: bool,
    started: Instant,
    /// When [`Self::on_due`] last looked.
    looked: Instant,
}

/// Senders for what processes and probes have to say.
struct Inbox {
    reports: mpsc::Sender<(Generation, Report)>,
    outcomes: mpsc::Sender<(Generation, Outcome)>,
}

impl Supervisor {
    /// Knows its slots from the beginning, so that requests which come before
    /// [`Self::run`] wait for the first worker.
    pub fn new(settings: Settings, launcher: Launcher, executable: Executable, state: ClusterState) -> Self {
        let now = Instant::now();
        let ids = (1..).map(WorkerId).take(settings.workers);
        let mut supervisor = Self {
            seats: ids.map(|id| Seat::current(id, settings.limits, now)).collect(),
            settings,
            launcher,
            executable,
            ports: Custom::default(),
            state,
            change: Change::default(),
            relays: JoinSet::new(),
            generations: 0,
            announced: false,
            stopping: false,
            started: now,
            looked: now,
        };
        supervisor.publish();
        supervisor
    }

    /// Starts the workers and looks after them until told to stop, and then
    /// until the last of them is reaped. A closed `orders` counts as [`Command::Kill`].
    pub async fn run(mut self, mut orders: mpsc::Receiver<Command>) {
        let (reports, mut reported) = mpsc::channel(QUEUED_EVENTS);
        let (outcomes, mut probed) = mpsc::channel(QUEUED_EVENTS);
        let inbox = Inbox { reports, outcomes };
        let mut watchdog = notify::watchdog();
        for index in 0..self.seats.len() {
            self.launch(index, &inbox);
        }
        loop {
            self.advance(&inbox);
            self.publish();
            if self.stopping && self.seats.iter().all(|seat| seat.slot.is_stopped()) {
                break;
            }
            tokio::select! {
                biased;
                order = orders.recv() => self.handle(order.unwrap_or(Command::Kill), &inbox),
                Some((generation, report)) = reported.recv() => self.on_report(generation, report, &inbox),
                () = sleep_until(self.next_look()) => self.on_due(&inbox),
                Some((generation, outcome)) = probed.recv() => self.on_probe(generation, outcome, &inbox),
                () = watchdog.tick() => {}
            }
            // Forgets those that are done.
            while self.relays.try_join_next().is_some() {}
        }
        // A worker's child may hold its output open for ever.
        let _ = timeout(LAST_WORDS, self.relays.join_all()).await;
    }

    fn handle(&mut self, order: Command, inbox: &Inbox) {
        let event = match order {
            Command::Reload { reply } => return self.order_reload(reply),
            Command::Scale { to, reply } => return self.order_scale(to, reply, inbox),
            Command::Stop => Event::Stop,
            Command::Kill => Event::Kill,
        };
        if !self.stopping {
            self.stopping = true;
            self.abandon_change("the cluster is stopping", inbox);
        }
        for index in 0..self.seats.len() {
            self.send(index, event, inbox);
        }
    }

    fn index_of(&self, generation: Generation) -> Option<usize> {
        self.seats
            .iter()
            .position(|seat| seat.post.as_ref().is_some_and(|post| post.process.generation == generation))
    }

    /// The slots that hold their ids.
    fn current_slots(&self) -> impl Iterator<Item = &Slot> + Clone {
        self.seats.iter().filter(|seat| seat.role == Role::Current).map(|seat| &seat.slot)
    }

    /// How many workers are wanted.
    fn workers(&self) -> usize {
        self.current_slots().count()
    }

    /// When there is something to be done if nothing happens before.
    fn next_look(&self) -> Option<Instant> {
        let due = self.seats.iter().filter_map(|seat| seat.slot.due()).min();
        let draining = self.seats.iter().any(|seat| seat.slot.is_draining());
        let draining = draining.then(|| self.looked + DRAIN_LOOK);
        let limits = (!self.settings.recycling.is_off()).then(|| self.looked + recycle::LOOK);
        [due, draining, limits].into_iter().flatten().min()
    }

    fn publish(&mut self) {
        self.state
            .pool
            .set_next_start(self.current_slots().filter_map(Slot::starts_at).min().map(Into::into));
        let mut entries: Vec<_> = self.seats.iter().map(entry).collect();
        entries.sort_by_key(|entry| entry.id);
        self.state.registry.publish(entries);
        self.announce();
    }

    /// Says once that the cluster serves: when all workers do, or those that can
    /// while others have failed at least once.
    fn announce(&mut self) {
        let online = self.current_slots().filter(|slot| slot.online_since().is_some()).count();
        let settled = |slot: &Slot| slot.online_since().is_some() || slot.has_failed();
        if self.announced || online == 0 || !self.current_slots().all(settled) {
            return;
        }
        self.announced = true;
        let (workers, after_ms) = (self.workers(), millis(self.started.elapsed()));
        if online == workers {
            info!(workers, after_ms, "cluster ready");
        } else {
            warn!(online, workers, after_ms, "cluster serves, but not all workers could be started");
        }
        notify::ready(&format!("{online} of {workers} workers online"));
    }
}

fn entry(seat: &Seat) -> Entry {
    let post = seat.post.as_ref();
    Entry {
        id: seat.slot.id,
        role: seat.role,
        state: seat.slot.state(),
        since: Instant::now(),
        pid: post.map(|post| post.pid),
        keeper: post.filter(|post| post.pid != post.process.child).map(|post| post.process.child),
        worker: post.and_then(|post| post.worker.clone()),
        online_since: seat.slot.online_since(),
        restarts: seat.slot.history().restarts,
        last_reason: seat.slot.history().last_reason,
        store: post.and_then(|post| post.store.clone()),
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
