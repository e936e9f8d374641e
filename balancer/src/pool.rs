//! The workers that get requests: an immutable snapshot, swapped as a whole.
//!
//! The supervisor is the only writer. Readers take no lock: a pick is one load
//! of the snapshot and one atomic increment. A worker that has been withdrawn is
//! never picked again, and its in-flight count covers every request from the
//! pick on, so that a drain that sees zero has really finished.

pub mod select;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use shared::protocol::{Generation, WorkerId};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::metrics::Traffic;

/// One worker process, as the request path sees it.
#[derive(Debug)]
pub struct Worker {
    pub id: WorkerId,
    pub pid: u32,
    pub generation: Generation,
    pub address: SocketAddr,
    /// What the slot has served, whichever process it was.
    pub traffic: Arc<Traffic>,
    in_flight: AtomicU64,
    requests: AtomicU64,
    withdrawn: AtomicBool,
}

impl Worker {
    pub fn new(
        id: WorkerId,
        pid: u32,
        generation: Generation,
        address: SocketAddr,
        traffic: Arc<Traffic>,
    ) -> Self {
        Self {
            id,
            pid,
            generation,
            address,
            traffic,
            in_flight: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            withdrawn: AtomicBool::new(false),
        }
    }

    /// Requests that this worker holds now.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// Requests ever handed to this worker, retries included.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

/// A picked worker. Counts as in flight until it is dropped, which also holds
/// when the request is abandoned or its task panics.
#[derive(Debug)]
pub struct Lease {
    worker: Arc<Worker>,
}

impl Lease {
    /// Counts first and looks second: either this sees the withdrawal, or
    /// whoever withdraws sees the count. `SeqCst` makes that order total.
    fn take(worker: &Arc<Worker>) -> Option<Self> {
        worker.in_flight.fetch_add(1, Ordering::SeqCst);
        let lease = Self { worker: Arc::clone(worker) };
        if worker.withdrawn.load(Ordering::SeqCst) {
            return None;
        }
        worker.requests.fetch_add(1, Ordering::Relaxed);
        Some(lease)
    }
}

impl std::ops::Deref for Lease {
    type Target = Worker;

    fn deref(&self) -> &Worker {
        &self.worker
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.worker.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

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

#[derive(Debug)]
pub struct Pool {
    ready: ArcSwap<Vec<Arc<Worker>>>,
    turn: AtomicUsize,
    outlook: watch::Sender<Outlook>,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            ready: ArcSwap::default(),
            turn: AtomicUsize::new(0),
            outlook: watch::Sender::new(Outlook::default()),
        }
    }
}

impl Pool {
    /// The next worker in turn that is not among `tried`.
    pub fn pick(&self, tried: &[Generation]) -> Option<Lease> {
        let ready = self.ready.load();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        select::round_robin(ready.len(), turn)
            .map(|index| &ready[index])
            .filter(|worker| !tried.contains(&worker.generation))
            .find_map(Lease::take)
    }

    /// As [`Self::pick`]; when there is none, waits for one as `patience` says.
    pub async fn pick_or_wait(&self, tried: &[Generation], patience: Patience) -> Option<Lease> {
        if let Some(lease) = self.pick(tried) {
            return Some(lease);
        }
        let start = Instant::now();
        let mut outlook = self.outlook.subscribe();
        loop {
            // Looked at before the pick, so that no change falls between.
            let next_start = outlook.borrow_and_update().next_start;
            if let Some(lease) = self.pick(tried) {
                return Some(lease);
            }
            let hope = next_start.is_some_and(|next| next <= start + patience.about_to);
            let deadline = start + if hope { patience.starting } else { patience.grace };
            if tokio::time::timeout_at(deadline, outlook.changed()).await.is_err() {
                return None;
            }
        }
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
        self.ready.store(Arc::new(next));
        self.outlook.send_modify(|outlook| outlook.version += 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(id: u32, generation: u64) -> Arc<Worker> {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        Arc::new(Worker::new(WorkerId(id), 100 + id, Generation(generation), address, Arc::default()))
    }

    fn pool(workers: u32) -> Pool {
        let pool = Pool::default();
        // Published in the order in which they happen to become ready.
        (1..=workers).rev().for_each(|id| pool.publish(worker(id, u64::from(id))));
        pool
    }

    fn ids(pool: &Pool, picks: usize) -> Vec<u32> {
        (0..picks).map(|_| pool.pick(&[]).unwrap().id.0).collect()
    }

    #[test]
    fn picks_go_round_by_id() {
        assert_eq!(ids(&pool(4), 8), [1, 2, 3, 4, 1, 2, 3, 4]);
    }

    #[test]
    fn picks_are_exact_when_many_threads_pick() {
        let pool = pool(4);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..1_000).for_each(|_| drop(pool.pick(&[]))));
            }
        });
        for worker in pool.ready().iter() {
            assert_eq!(worker.requests(), 2_000, "worker {}", worker.id);
        }
    }

    #[test]
    fn a_retry_goes_to_a_worker_that_was_not_tried() {
        let pool = pool(3);
        for _ in 0..6 {
            assert_eq!(pool.pick(&[Generation(1), Generation(3)]).unwrap().id, WorkerId(2));
        }
        assert!(pool.pick(&[Generation(1), Generation(2), Generation(3)]).is_none());
    }

    #[test]
    fn a_withdrawn_worker_is_not_picked_even_from_an_old_snapshot() {
        let pool = pool(2);
        let old = pool.ready();
        pool.withdraw(Generation(1));
        assert!(Lease::take(&old[0]).is_none());
        assert_eq!(old[0].in_flight(), 0);
        assert_eq!(ids(&pool, 3), [2, 2, 2]);
    }

    #[test]
    fn in_flight_lasts_as_long_as_the_lease() {
        let pool = pool(1);
        let lease = pool.pick(&[]).unwrap();
        assert_eq!(pool.ready()[0].in_flight(), 1);
        drop(lease);
        assert_eq!(pool.ready()[0].in_flight(), 0);
    }

    #[test]
    fn a_replacement_takes_its_predecessors_place() {
        let pool = pool(3);
        let old = pool.ready();
        pool.publish(worker(2, 9));
        assert!(Lease::take(&old[1]).is_none(), "it gets nothing more");
        let generations: Vec<_> = pool.ready().iter().map(|worker| worker.generation.0).collect();
        assert_eq!(generations, [1, 9, 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_for_a_starting_worker_but_not_for_nothing() {
        const PATIENCE: Patience = Patience {
            starting: Duration::from_secs(5),
            about_to: Duration::from_secs(1),
            grace: Duration::from_millis(200),
        };
        let pool = Arc::new(Pool::default());
        let start = Instant::now();
        assert!(pool.pick_or_wait(&[], PATIENCE).await.is_none());
        assert_eq!(start.elapsed(), PATIENCE.grace);
        pool.set_next_start(Some(Instant::now() + Duration::from_secs(20)));
        assert!(pool.pick_or_wait(&[], PATIENCE).await.is_none());
        assert_eq!(start.elapsed(), PATIENCE.grace * 2);

        pool.set_next_start(Some(Instant::now() + Duration::from_millis(900)));
        let waiting = tokio::spawn({
            let pool = Arc::clone(&pool);
            async move { pool.pick_or_wait(&[], PATIENCE).await.map(|lease| lease.id) }
        });
        tokio::time::sleep(Duration::from_secs(2)).await;
        pool.publish(worker(1, 1));
        assert_eq!(waiting.await.unwrap(), Some(WorkerId(1)));
    }
}
