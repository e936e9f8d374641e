//! The pool itself: publishing and withdrawing workers, and picking one of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use shared_protocol::{Generation, WorkerId};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::clock::{self, Clock};
use crate::lease::Lease;
use crate::queue::{ConcurrencyLimit, Queue, QueueReading, QueueStats};
use crate::rendezvous::{self, HashKey};
use crate::request::{Affinity, PickError, PickRequest, WaitPolicy};
use crate::select::{self, Strategy};
use crate::worker::Worker;

/// How requests are shared out.
#[derive(Debug, Clone, Copy, Default)]
pub struct Balancing {
    pub strategy: Strategy,
    /// Without one, a worker holds as many requests as come.
    pub concurrency_limit: Option<ConcurrencyLimit>,
}

/// What a request without a ready worker watches.
#[derive(Debug, Clone, Copy, Default)]
struct NextStart {
    /// When the next start of a worker begins; in the past while one is starting.
    at: Option<Instant>,
    /// Changes with every publication and withdrawal.
    version: u64,
}

/// Tells of changes of the ready workers.
#[derive(Debug)]
pub struct PoolChanges(watch::Receiver<NextStart>);

impl PoolChanges {
    /// Waits for a change since the last call.
    pub async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            // The pool is gone, and never changes again.
            std::future::pending::<()>().await;
        }
    }
}

#[derive(Debug)]
pub struct Pool {
    strategy: Strategy,
    ready: ArcSwap<Vec<Arc<Worker>>>,
    turn: AtomicUsize,
    next_start: watch::Sender<NextStart>,
    /// Told each time that a worker gets no more requests.
    withdrawals: watch::Sender<()>,
    /// Where requests wait while all workers are at their limit.
    queue: Option<Arc<Queue<Lease>>>,
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
            next_start: watch::Sender::new(NextStart::default()),
            withdrawals: watch::Sender::new(()),
            queue: balancing.concurrency_limit.map(|limit| Arc::new(Queue::new(limit))),
        }
    }

    /// Picks the worker that the strategy chooses among those that are not excluded
    /// and have room. Picks none while other requests wait in the queue: they came
    /// before.
    #[inline]
    pub fn pick(&self, request: PickRequest<'_>) -> Option<Lease> {
        if self.queue.as_ref().is_some_and(|queue| queue.len() > 0) {
            return None;
        }
        self.take(request)
    }

    fn take(&self, request: PickRequest<'_>) -> Option<Lease> {
        let ready = self.ready.load();
        let queue = self.queue.as_ref();
        if let Some(Affinity::Key(key)) = request.affinity {
            return take_by_key(&ready, queue, request, key);
        }
        if let Some(Affinity::Worker(id)) = request.affinity
            && let Some(worker) = ready.iter().find(|worker| worker.id == id && allows(request, worker))
        {
            match Lease::take(worker, queue) {
                // The request waits for this worker, but only while it is published.
                None if !worker.withdrawn.load(Ordering::SeqCst) => return None,
                None => {}
                lease => return lease,
            }
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let load = |index: usize| {
            let worker: &Worker = &ready[index];
            let load = worker.in_flight();
            (allows(request, worker) && has_room(worker, queue)).then_some(load)
        };
        let first = match self.strategy {
            // Without a key, each in turn.
            Strategy::RoundRobin | Strategy::Sticky | Strategy::Hash => None,
            Strategy::LeastConnections => select::least_loaded(ready.len(), turn, load),
            Strategy::PowerOfTwo => select::power_of_two(ready.len(), fastrand::u64(..), load),
        };
        // Another thread may have been faster: then any worker with room will do.
        first.and_then(|index| Lease::take(&ready[index], queue)).or_else(|| {
            select::round_robin(ready.len(), turn)
                .map(|index| &ready[index])
                .filter(|worker| allows(request, worker))
                .find_map(|worker| Lease::take(worker, queue))
        })
    }

    /// Does the same as [`Self::pick`]. When no worker can be picked, waits: in the
    /// queue while workers are ready and all at their limit, else for a worker to
    /// become ready, as `policy` says. The waits are measured by `clock`.
    ///
    /// # Errors
    /// When no worker came in time, or none was worth waiting for.
    pub async fn pick_or_wait(
        &self,
        request: PickRequest<'_>,
        policy: WaitPolicy,
        clock: &impl Clock,
    ) -> Result<Lease, PickError> {
        let (began, start) = (Instant::now(), clock.now());
        let mut next_start = self.next_start.subscribe();
        loop {
            // Read before the pick, so that no change falls between.
            let next = next_start.borrow_and_update().at;
            if let Some(lease) = self.pick(request) {
                return Ok(lease);
            }
            if self.is_full_of_tunnels(request) {
                return Err(PickError::MaxTunnels);
            }
            if let Some(queue) = &self.queue
                && self.ready.load().iter().any(|worker| allows(request, worker))
            {
                return self.wait_in(queue, request, clock).await;
            }
            let is_near = next.is_some_and(|next| next <= began + policy.start_horizon);
            let deadline = start + if is_near { policy.starting } else { policy.grace };
            if clock::until(clock, deadline, next_start.changed()).await.is_none() {
                return Err(PickError::NoWorkerReady);
            }
        }
    }

    /// Is it the number of upgraded connections that leaves no worker for the request?
    /// Such connections last, so nobody waits for their end.
    fn is_full_of_tunnels(&self, request: PickRequest<'_>) -> bool {
        let Some(max) = request.max_tunnels else { return false };
        let ready = self.ready.load();
        let is_full = |worker: &Worker| worker.tunnels() >= max;
        ready.iter().any(|worker| is_full(worker))
            && ready.iter().all(|worker| is_full(worker) || !request.allows(worker.generation))
    }

    async fn wait_in(
        &self,
        queue: &Arc<Queue<Lease>>,
        request: PickRequest<'_>,
        clock: &impl Clock,
    ) -> Result<Lease, PickError> {
        let Some(mut ticket) = queue.join(request) else {
            // Those in the queue may all be bound to other workers.
            let lease = self.take(request);
            if lease.is_none() {
                queue.stats.full.fetch_add(1, Ordering::Relaxed);
            }
            return lease.ok_or(PickError::QueueFull);
        };
        serve_queue(queue, &self.ready());
        let queue_timeout = queue.limit.queue_timeout;
        match clock::until(clock, clock.now() + queue_timeout, &mut ticket.lease).await {
            Some(Ok(lease)) => Ok(lease),
            _ => {
                ticket.has_timed_out = true;
                Err(PickError::QueueTimeout(queue_timeout))
            }
        }
    }

    /// How workers are chosen for requests.
    pub fn strategy(&self) -> Strategy {
        self.strategy
    }

    /// Does this worker hold as many requests as it may?
    pub fn is_full(&self, worker: &Worker) -> bool {
        self.queue.as_ref().is_some_and(|queue| worker.placed() >= queue.limit.max_concurrency)
    }

    /// Do workers have a concurrency limit?
    pub fn has_concurrency_limit(&self) -> bool {
        self.queue.is_some()
    }

    /// Requests that wait in the queue.
    pub fn queued(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.len())
    }

    /// Requests that got no worker although workers were ready; `None` without a
    /// concurrency limit.
    pub fn queue_stats(&self) -> Option<&QueueStats> {
        self.queue.as_ref().map(|queue| &queue.stats)
    }

    /// Requests that one worker holds at a time, if that is limited.
    pub fn max_concurrency(&self) -> Option<u64> {
        self.queue.as_ref().map(|queue| queue.limit.max_concurrency)
    }

    /// How the queue was since the last call, for the supervisor only; `None` without a
    /// concurrency limit.
    pub fn read_queue(&self) -> Option<QueueReading> {
        self.queue.as_ref().map(|queue| queue.read())
    }

    /// The ready workers, by id.
    pub fn ready(&self) -> Arc<Vec<Arc<Worker>>> {
        self.ready.load_full()
    }

    /// Supervisor only: `worker` gets requests from now on, and a process that had
    /// its id before gets no more.
    pub fn publish(&self, worker: Arc<Worker>) {
        worker.withdrawn.store(false, Ordering::SeqCst);
        let before = self.ready.load_full();
        let (mut replaced, mut next): (Vec<_>, Vec<_>) =
            before.iter().cloned().partition(|w| w.id == worker.id);
        replaced.retain(|old| old.generation != worker.generation);
        next.push(worker);
        next.sort_by_key(|worker| worker.id);
        self.swap(next);
        // Only now, so that one of the two could be picked at any time.
        for old in replaced {
            old.withdrawn.store(true, Ordering::SeqCst);
        }
    }

    /// Supervisor only: this process gets no request until it is published again.
    pub fn withdraw(&self, generation: Generation) {
        let ready = self.ready.load();
        for worker in ready.iter().filter(|worker| worker.generation == generation) {
            worker.withdrawn.store(true, Ordering::SeqCst);
        }
        self.swap(ready.iter().filter(|worker| worker.generation != generation).cloned().collect());
        self.withdrawals.send_replace(());
    }

    /// Changes after each withdrawal, for whoever keeps something of workers.
    pub fn withdrawals(&self) -> watch::Receiver<()> {
        self.withdrawals.subscribe()
    }

    /// Changes after each publication and withdrawal, and at times without one.
    pub fn changes(&self) -> PoolChanges {
        PoolChanges(self.next_start.subscribe())
    }

    /// Does a ready worker have this id?
    pub fn has_ready(&self, id: WorkerId) -> bool {
        self.ready.load().iter().any(|worker| worker.id == id)
    }

    /// Supervisor only: when the next start of a worker begins, or began.
    pub fn set_next_start(&self, at: Option<Instant>) {
        self.next_start.send_if_modified(|next_start| {
            let changed = next_start.at != at;
            next_start.at = at;
            changed
        });
    }

    fn swap(&self, next: Vec<Arc<Worker>>) {
        let next = Arc::new(next);
        self.ready.store(Arc::clone(&next));
        if let Some(queue) = &self.queue {
            serve_queue(queue, &next);
        }
        self.next_start.send_modify(|next_start| next_start.version += 1);
    }
}

/// May the worker be picked for the request?
#[inline]
fn allows(request: PickRequest<'_>, worker: &Worker) -> bool {
    request.allows(worker.generation) && request.max_tunnels.is_none_or(|max| worker.tunnels() < max)
}

/// Has the worker a place under the concurrency limit?
#[inline]
fn has_room(worker: &Worker, queue: Option<&Arc<Queue<Lease>>>) -> bool {
    queue.is_none_or(|queue| worker.placed() < queue.limit.max_concurrency)
}

/// Takes the first worker in the order of `key` that has room and may be picked.
fn take_by_key(
    ready: &[Arc<Worker>],
    queue: Option<&Arc<Queue<Lease>>>,
    request: PickRequest<'_>,
    key: HashKey,
) -> Option<Lease> {
    let weight = |index: usize| {
        let worker: &Worker = &ready[index];
        (allows(request, worker) && has_room(worker, queue)).then(|| key.weight(worker.id))
    };
    let mut bound = None;
    loop {
        let (weight, index) = rendezvous::highest(ready.len(), bound, weight)?;
        if let Some(lease) = Lease::take(&ready[index], queue) {
            return Some(lease);
        }
        // Another thread was faster, or the worker has just been withdrawn.
        bound = Some(weight);
    }
}

/// Gives the room of all `ready` workers to the requests in `queue`.
fn serve_queue(queue: &Arc<Queue<Lease>>, ready: &[Arc<Worker>]) {
    queue.release_affinities(|| ready.iter().map(|worker| (worker.id, worker.generation)));
    ready.iter().for_each(|worker| Lease::serve_queue(worker, queue));
}
