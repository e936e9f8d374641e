//! The workers that get requests: an immutable snapshot, swapped as a whole.
//!
//! The supervisor is the only writer. Readers take no lock: a pick is one load
//! of the snapshot and one atomic increment; only where workers have a cap, and
//! all are at it, requests stand in [`line`]. A worker that has been withdrawn is
//! never picked again, and its in-flight count covers every request from the
//! pick on, so that a drain that sees zero has really finished.

mod queue;
pub mod select;
pub mod traffic;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use shared_protocol::{Generation, WorkerId};
use tokio::sync::watch;
use tokio::time::Instant;

use queue::Line;
pub use queue::{Cap, Turned};
use select::Strategy;
pub use worker::{Lease, Worker};

/// What a request without a ready worker may hope for.
#[derive(Debug, Clone, Copy, Default)]
struct Outlook {
    /// When the next start of a worker begins; in the past while one is starting.
    next_start: Option<Instant>,
    /// Changes with every publication and withdrawal.
    version: u64,
}

/// How long a request waits when no worker is ready.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// While a worker is starting, or about to.
    pub starting: Duration,
    /// A worker whose start is no further away than this is about to start.
    pub about_to: Duration,
    /// Otherwise: the time in which a death that the request has just met
    /// becomes known to the pool.
    pub grace: Duration,
}

/// What a request asks of a pick.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wish<'a> {
    /// Processes that have failed it.
    pub tried: &'a [Generation],
    /// Whose client it is; of use with [`Strategy::Sticky`] only.
    pub bound_to: Option<WorkerId>,
}

/// Why a request got no worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    NobodyReady,
    /// All are at their cap, and as many requests as may wait do so.
    QueueFull,
    /// All stayed at their cap for so long.
    QueueTimeout(Duration),
}

/// How requests are shared out.
#[derive(Debug, Clone, Copy, Default)]
pub struct Balancing {
    pub strategy: Strategy,
    pub cap: Option<Cap>,
}

#[derive(Debug)]
pub struct Pool {
    strategy: Strategy,
    ready: ArcSwap<Vec<Arc<Worker>>>,
    turn: AtomicUsize,
    outlook: watch::Sender<Outlook>,
    /// Where requests wait for workers that are all at their cap.
    line: Option<Arc<Line>>,
}

impl Default for Pool {
    fn default() -> Self {
        Self::new(Balancing::default())
    }
}

impl Pool {
    pub fn new(balancing: Balancing) -> Self {
        Self {
            strategy: balancing.strategy,
            ready: ArcSwap::default(),
            turn: AtomicUsize::new(0),
            outlook: watch::Sender::new(Outlook::default()),
            line: balancing.cap.map(|cap| Arc::new(Line::new(cap))),
        }
    }

    /// The worker that the strategy chooses among those that were not tried and
    /// have room. None while others wait in line: they were here before.
    pub fn pick(&self, wish: Wish<'_>) -> Option<Lease> {
        if self.line.as_ref().is_some_and(|line| line.waiting() > 0) {
            return None;
        }
        self.take(wish)
    }

    fn take(&self, wish: Wish<'_>) -> Option<Lease> {
        let ready = self.ready.load();
        let line = self.line.as_ref();
        let may = |worker: &Worker| !wish.tried.contains(&worker.generation);
        if let Some(id) = wish.bound_to
            && let Some(worker) = ready.iter().find(|worker| worker.id == id && may(worker))
        {
            match Lease::take(worker, line) {
                // It is waited for, but only while it is there.
                None if !worker.withdrawn.load(Ordering::SeqCst) => return None,
                None => {}
                lease => return lease,
            }
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let load = |index: usize| {
            let worker: &Worker = &ready[index];
            let load = worker.in_flight();
            let has_room = line.is_none_or(|line| load < line.cap.concurrency);
            (may(worker) && has_room).then_some(load)
        };
        let first = match self.strategy {
            Strategy::RoundRobin | Strategy::Sticky => None,
            Strategy::LeastConnections => select::least_loaded(ready.len(), turn, load),
            Strategy::PowerOfTwo => select::power_of_two(ready.len(), fastrand::u64(..), load),
        };
        // Others may have been faster: then anyone with room will do.
        first.and_then(|index| Lease::take(&ready[index], line)).or_else(|| {
            select::round_robin(ready.len(), turn)
                .map(|index| &ready[index])
                .filter(|worker| may(worker))
                .find_map(|worker| Lease::take(worker, line))
        })
    }

    /// As [`Self::pick`]; when there is none, waits: in line when workers are
    /// ready and all at their cap, else for one to be ready, as `patience` says.
    ///
    /// # Errors
    /// When none came in time, or none was worth waiting for.
    pub async fn pick_or_wait(&self, wish: Wish<'_>, patience: Patience) -> Result<Lease, Denied> {
        let start = Instant::now();
        let mut outlook = self.outlook.subscribe();
        loop {
            // Looked at before the pick, so that no change falls between.
            let next_start = outlook.borrow_and_update().next_start;
            if let Some(lease) = self.pick(wish) {
                return Ok(lease);
            }
            if let Some(line) = &self.line
                && self.ready.load().iter().any(|worker| !wish.tried.contains(&worker.generation))
            {
                return self.stand_in(line, wish).await;
            }
            let hope = next_start.is_some_and(|next| next <= start + patience.about_to);
            let deadline = start + if hope { patience.starting } else { patience.grace };
            if tokio::time::timeout_at(deadline, outlook.changed()).await.is_err() {
                return Err(Denied::NobodyReady);
            }
        }
    }

    async fn stand_in(&self, line: &Arc<Line>, wish: Wish<'_>) -> Result<Lease, Denied> {
        let Some(mut place) = line.join(wish) else {
            // Those who wait may all be bound to others.
            let lease = self.take(wish);
            if lease.is_none() {
                line.turned.away.fetch_add(1, Ordering::Relaxed);
            }
            return lease.ok_or(Denied::QueueFull);
        };
        let ready = self.ready();
        line.unbind(&ready);
        ready.iter().for_each(|worker| line.serve(worker));
        match tokio::time::timeout(line.cap.patience, &mut place.lease).await {
            Ok(Ok(lease)) => Ok(lease),
            _ => {
                place.is_late = true;
                Err(Denied::QueueTimeout(line.cap.patience))
            }
        }
    }

    /// Have workers a cap?
    pub fn is_capped(&self) -> bool {
        self.line.is_some()
    }

    /// Requests that wait in line.
    pub fn waiting(&self) -> usize {
        self.line.as_ref().map_or(0, |line| line.waiting())
    }

    /// Requests that have stood in line, or tried to, and got no worker.
    pub fn turned(&self) -> Option<&Turned> {
        self.line.as_ref().map(|line| &line.turned)
    }

    /// The ready workers, by id.
    pub fn ready(&self) -> Arc<Vec<Arc<Worker>>> {
        self.ready.load_full()
    }

    /// Supervisor only: `worker` gets requests from now on, and whoever had its id
    /// gets no more.
    pub fn publish(&self, worker: Arc<Worker>) {
        let before = self.ready.load_full();
        let (replaced, mut next): (Vec<_>, Vec<_>) = before.iter().cloned().partition(|w| w.id == worker.id);
        next.push(worker);
        next.sort_by_key(|worker| worker.id);
        self.swap(next);
        // Only now, so that there was one of the two to be picked at any time.
        for old in replaced {
            old.withdrawn.store(true, Ordering::SeqCst);
        }
    }

    /// Supervisor only: no request is handed to this process any more.
    pub fn withdraw(&self, generation: Generation) {
        let ready = self.ready.load();
        for worker in ready.iter().filter(|worker| worker.generation == generation) {
            worker.withdrawn.store(true, Ordering::SeqCst);
        }
        self.swap(ready.iter().filter(|worker| worker.generation != generation).cloned().collect());
    }

    /// Supervisor only: when the next start of a worker begins, or began.
    pub fn set_next_start(&self, next_start: Option<Instant>) {
        self.outlook.send_if_modified(|outlook| {
            let changed = outlook.next_start != next_start;
            outlook.next_start = next_start;
            changed
        });
    }

    fn swap(&self, next: Vec<Arc<Worker>>) {
        let next = Arc::new(next);
        self.ready.store(Arc::clone(&next));
        if let Some(line) = &self.line {
            line.unbind(&next);
            next.iter().for_each(|worker| line.serve(worker));
        }
        self.outlook.send_modify(|outlook| outlook.version += 1);
    }
}

#[cfg(test)]
mod tests;
