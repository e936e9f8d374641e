//! Keeps the wanted number of workers running: one task that owns all slots and
//! is the only writer of the [`Pool`] and the [`Roster`].
//!
//! What happens to processes and probes arrives as events, what to do about it
//! is decided by [`slot`] without touching the system, and carried out here.
//! Reloads, scaling and replacements are in [`change`].

pub mod backoff;
pub mod change;
pub mod executable;
pub mod keeper;
pub mod output;
pub mod plan;
pub mod probe;
pub mod process;
pub mod recycle;
pub mod seat;
pub mod slot;

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shared::protocol::{Generation, WorkerId, WorkerRef};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, error, info, warn};

use crate::journal::{Journal, Kind};
use crate::metrics::{Metrics, Reason};
use crate::notify;
use crate::pool::{Pool, Worker};
use crate::roster::{Entry, Role, Roster};
use change::Change;
use executable::Executable;
use plan::Progress;
use probe::{Expected, Outcome, Probing, Target};
use process::{Launcher, Program, Report, Start};
use recycle::{Budget, Recycling};
use seat::{Post, Seat};
use slot::{Action, Event, Limits, Slot};

/// Reports that may wait for the supervisor; more make their senders wait.
const QUEUED_EVENTS: usize = 256;
/// How long the last words of the last worker may take.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// How often a retired worker's requests in flight are counted.
const DRAIN_LOOK: Duration = Duration::from_millis(5);

/// Who is told how a change goes. Whoever does not listen misses something.
pub type Reply = mpsc::Sender<Progress>;

/// What the supervisor can be told.
#[derive(Debug)]
pub enum Order {
    /// Replace all workers. Without a reply, one that comes while a change is
    /// under way is carried out after it.
    Reload { reply: Option<Reply> },
    /// Change the number of workers.
    Scale { to: Count, reply: Option<Reply> },
    /// Stop all workers, giving each the kill timeout.
    Stop,
    /// Stop all workers at once.
    Kill,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
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

/// What the supervisor writes and others read.
#[derive(Debug, Clone, Default)]
pub struct Boards {
    pub pool: Arc<Pool>,
    pub roster: Arc<Roster>,
    pub metrics: Arc<Metrics>,
    pub journal: Arc<Journal>,
}

#[derive(Debug)]
pub struct Supervisor {
    settings: Settings,
    launcher: Launcher,
    executable: Executable,
    boards: Boards,
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
    pub fn new(settings: Settings, launcher: Launcher, executable: Executable, boards: Boards) -> Self {
        let now = Instant::now();
        let ids = (1..).map(WorkerId).take(settings.workers);
        let mut supervisor = Self {
            seats: ids.map(|id| Seat::current(id, settings.limits, now)).collect(),
            settings,
            launcher,
            executable,
            boards,
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
    /// until the last of them is reaped. A closed `orders` counts as [`Order::Kill`].
    pub async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
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
                order = orders.recv() => self.obey(order.unwrap_or(Order::Kill), &inbox),
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

    fn obey(&mut self, order: Order, inbox: &Inbox) {
        let event = match order {
            Order::Reload { reply } => return self.order_reload(reply),
            Order::Scale { to, reply } => return self.order_scale(to, reply, inbox),
            Order::Stop => Event::Stop,
            Order::Kill => Event::Kill,
        };
        if !self.stopping {
            self.stopping = true;
            self.abandon_change("the cluster is stopping", inbox);
        }
        for index in 0..self.seats.len() {
            self.send(index, event, inbox);
        }
    }

    fn on_report(&mut self, generation: Generation, report: Report, inbox: &Inbox) {
        let Some(index) = self.index_of(generation) else { return };
        let id = self.seats[index].slot.id;
        match report {
            Report::Up { pid, port } => self.on_up(index, pid, port, inbox),
            Report::CouldNotStart { reason } => {
                error!(worker = %id, "could not start: {reason}");
                self.seats[index].failure = Some(reason);
            }
            Report::Leaving => self.send(index, Event::Leaving, inbox),
            Report::Exited { status } => self.on_exit(index, status.as_ref().ok(), inbox),
        }
    }

    fn on_up(&mut self, index: usize, pid: u32, port: u16, inbox: &Inbox) {
        let seat = &mut self.seats[index];
        let id = seat.slot.id;
        let Some(post) = &mut seat.post else { return };
        let (keeper, generation) = (post.process.child, post.process.generation);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let expected = match self.launcher.program {
            Program::Bundled => Expected::Bundled(WorkerRef::new(id, pid)),
            Program::Command(_) => Expected::Program { keeper },
        };
        post.pid = pid;
        let traffic = self.boards.metrics.traffic(id);
        post.worker = Some(Arc::new(Worker::new(id, pid, generation, address, traffic)));
        let probing = self.settings.probing.clone();
        let target = Target { address, expected };
        post.probes = Some(tokio::spawn(probe::run(target, generation, probing, inbox.outcomes.clone())));
    }

    fn on_exit(&mut self, index: usize, status: Option<&ExitStatus>, inbox: &Inbox) {
        let seat = &mut self.seats[index];
        let (id, pid) = (seat.slot.id, seat.pid());
        let how = status.map_or_else(|| "in an unknown way".to_owned(), ToString::to_string);
        let expected = self.stopping || seat.slot.is_ending();
        if seat.slot.is_starting() {
            seat.failure.get_or_insert_with(|| format!("ended before it was ready: {how}"));
        }
        let was_ending = seat.slot.is_ending();
        if let Some(post) = seat.post.take() {
            self.boards.pool.withdraw(post.process.generation);
        }
        if expected && status.is_some_and(ExitStatus::success) {
            debug!(worker = %id, pid, "stopped: {how}");
        } else {
            warn!(worker = %id, pid, "ended: {how}");
        }
        let kind = if expected { Kind::Stopped } else { Kind::Ended };
        self.boards.journal.note(kind, Some(id), pid, how);
        if let (true, Some(pid)) = (was_ending, pid) {
            self.change.tell(Progress::Stopped { worker: id, pid });
        }
        self.send(index, Event::Exited { jitter: fastrand::f64() }, inbox);
        if let Some(at) = self.seats[index].slot.starts_at().filter(|&at| at > Instant::now()) {
            let wait_ms = millis(at.saturating_duration_since(Instant::now()));
            warn!(worker = %id, wait_ms, "keeps ending: waits before its next start");
        }
    }

    fn on_probe(&mut self, generation: Generation, outcome: Outcome, inbox: &Inbox) {
        let Some(index) = self.index_of(generation) else { return };
        let seat = &mut self.seats[index];
        let id = seat.slot.id;
        let healthy = match outcome {
            Outcome::Healthy { store } => {
                if let Some(post) = &mut seat.post {
                    post.store = store;
                }
                true
            }
            Outcome::Missed { why } if seat.slot.online_since().is_some() => {
                warn!(worker = %id, "missed a health probe: {why}");
                false
            }
            Outcome::Missed { why } => {
                debug!(worker = %id, "not ready yet: {why}");
                seat.not_ready = Some(why);
                false
            }
            Outcome::PortTaken => {
                warn!(worker = %id, "another program answers on its port: tried again on a new one");
                self.boards.journal.note(Kind::PortTaken, Some(id), None, "another program has its port");
                return self.send(index, Event::PortTaken, inbox);
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
        for index in 0..self.seats.len() {
            let id = self.seats[index].slot.id;
            if self.seats[index].slot.is_suspect() && slot::may_eject(self.current_slots(), id) {
                warn!(worker = %id, "is hung: taken out and replaced");
                let pid = self.seats[index].pid();
                self.boards.journal.note(Kind::Hung, Some(id), pid, "missed its health probes");
                self.send(index, Event::Eject, inbox);
            }
        }
    }

    fn on_due(&mut self, inbox: &Inbox) {
        self.looked = Instant::now();
        for index in 0..self.seats.len() {
            let was_starting = self.seats[index].slot.is_starting();
            self.send(index, Event::Due, inbox);
            let seat = &mut self.seats[index];
            if seat.is_drained() {
                self.send(index, Event::Idle, inbox);
            } else if was_starting && !seat.slot.is_starting() {
                let why = seat.not_ready.take().unwrap_or_else(|| "it has not told its port".to_owned());
                let why = format!("not ready within {:?}: {why}", self.settings.limits.startup);
                warn!(worker = %seat.slot.id, "{why}");
                self.boards.journal.note(Kind::NotReady, Some(seat.slot.id), seat.pid(), why.clone());
                seat.failure = Some(why);
            }
        }
        self.look_at_limits();
    }

    fn send(&mut self, index: usize, event: Event, inbox: &Inbox) {
        let actions = self.seats[index].slot.handle(event, Instant::now());
        self.carry_out(index, actions, inbox);
    }

    fn carry_out(&mut self, index: usize, actions: Vec<Action>, inbox: &Inbox) {
        let id = self.seats[index].slot.id;
        for action in actions {
            match (action, &mut self.seats[index].post) {
                (Action::Launch, _) => {
                    let reason = self.seats[index].slot.history().last_reason.unwrap_or(Reason::Crash);
                    self.boards.metrics.replaced(id, reason);
                    self.launch(index, inbox);
                }
                (Action::Publish, Some(post)) => {
                    let Some(worker) = &post.worker else { continue };
                    let recycling = &self.settings.recycling;
                    post.budget = Some(Budget::draw(recycling, Instant::now(), fastrand::f64()));
                    self.boards.pool.publish(Arc::clone(worker));
                    let (pid, port, after_ms) =
                        (worker.pid, worker.address.port(), millis(post.launched.elapsed()));
                    info!(worker = %id, pid, port, after_ms, "online");
                    let detail = format!("online after {after_ms} ms on port {port}");
                    self.boards.journal.note(Kind::Ready, Some(id), Some(pid), detail);
                }
                (Action::Withdraw, Some(post)) => self.boards.pool.withdraw(post.process.generation),
                (Action::Terminate, Some(post)) => post.process.terminate(),
                (Action::Kill, Some(post)) => {
                    if !self.stopping {
                        warn!(worker = %id, pid = post.pid, "did not stop in time: killed");
                    }
                    post.process.kill();
                }
                // Nothing runs in this slot.
                (Action::Publish | Action::Withdraw | Action::Terminate | Action::Kill, None) => {}
            }
        }
    }

    fn launch(&mut self, index: usize, inbox: &Inbox) {
        self.generations += 1;
        let seat = &self.seats[index];
        let id = seat.slot.id;
        let executable = match seat.role {
            Role::Candidate => self.change.executable().unwrap_or(&self.executable),
            Role::Current | Role::Retiring => &self.executable,
        };
        let workers = self.change.workers_after().unwrap_or_else(|| self.workers());
        let start = Start { id, generation: Generation(self.generations), workers, executable };
        let launched = self.launcher.launch(start, inbox.reports.clone(), &mut self.relays);
        let seat = &mut self.seats[index];
        (seat.not_ready, seat.failure) = (None, None);
        match launched {
            Ok(process) => {
                let pid = process.child;
                debug!(worker = %id, pid, generation = self.generations, "started");
                self.boards.journal.note(Kind::Started, Some(id), Some(pid), "started");
                seat.post = Some(Post::new(process, Instant::now()));
            }
            Err(err) => {
                error!(worker = %id, %err, "could not be started");
                seat.failure = Some(format!("could not be started: {err}"));
                seat.post = None;
                self.send(index, Event::LaunchFailed { jitter: fastrand::f64() }, inbox);
            }
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
        self.boards
            .pool
            .set_next_start(self.current_slots().filter_map(Slot::starts_at).min().map(Into::into));
        let mut entries: Vec<_> = self.seats.iter().map(entry).collect();
        entries.sort_by_key(|entry| entry.id);
        self.boards.roster.publish(entries);
        let all_online = self.current_slots().all(|slot| slot.online_since().is_some());
        if all_online && !self.announced {
            self.announced = true;
            let workers = self.workers();
            info!(workers, after_ms = millis(self.started.elapsed()), "cluster ready");
            notify::ready(&format!("{workers} workers online"));
        }
    }
}

fn entry(seat: &Seat) -> Entry {
    let post = seat.post.as_ref();
    Entry {
        id: seat.slot.id,
        role: seat.role,
        state: seat.slot.state(),
        pid: post.map(|post| post.pid),
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
