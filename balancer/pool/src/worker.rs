//! One worker process, and a request's hold on it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use shared_protocol::{Generation, WorkerId};
use tokio::sync::Notify;

use crate::queue::Queue;
use crate::traffic::Traffic;

/// One worker process, as the request path sees it.
#[derive(Debug)]
pub struct Worker {
    pub id: WorkerId,
    pub pid: u32,
    pub generation: Generation,
    pub address: SocketAddr,
    /// What the slot has served, by all of its processes.
    pub traffic: Arc<Traffic>,
    in_flight: AtomicU64,
    requests: AtomicU64,
    pub(crate) withdrawn: AtomicBool,
    /// Told each time that a withdrawn worker has no more requests.
    idle: Notify,
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
            idle: Notify::new(),
        }
    }

    /// Requests that this worker holds now.
    #[inline]
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// Requests ever handed to this worker, retries included.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Waits until this worker, which must have been withdrawn, has no more requests.
    /// For one waiter at a time.
    ///
    /// No end is missed: whoever lets go counts down first and then looks whether the
    /// worker is withdrawn, and it was withdrawn before this looks at the count. In
    /// the one order of all `SeqCst` operations, either this sees the count at zero or
    /// the last to let go sees the withdrawal, and [`Notify::notify_one`] keeps its
    /// word for a waiter that is yet to come.
    pub async fn drained(&self) {
        while self.in_flight() > 0 {
            self.idle.notified().await;
        }
    }

    /// One request less.
    #[inline]
    fn let_go(&self) {
        if self.in_flight.fetch_sub(1, Ordering::SeqCst) == 1 && self.withdrawn.load(Ordering::SeqCst) {
            self.idle.notify_one();
        }
    }
}

/// A picked worker. It counts as in flight until it is dropped, also when the
/// request is abandoned or its task panics.
#[derive(Debug)]
pub struct Lease {
    worker: Arc<Worker>,
    /// The queue whose requests may wait for this lease to end.
    queue: Option<Arc<Queue<Self>>>,
}

impl Lease {
    /// Counts first and looks second: either this sees the withdrawal, or
    /// whoever withdraws sees the count. `SeqCst` makes that order total. With a
    /// `queue`, counts only up to its limit.
    #[inline]
    pub(crate) fn take(worker: &Arc<Worker>, queue: Option<&Arc<Queue<Self>>>) -> Option<Self> {
        match queue {
            None => {
                worker.in_flight.fetch_add(1, Ordering::SeqCst);
            }
            Some(queue) => {
                let more = |count| (count < queue.limit.max_concurrency).then_some(count + 1);
                worker.in_flight.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).ok()?;
            }
        }
        if worker.withdrawn.load(Ordering::SeqCst) {
            // Not by way of a lease: the room of a worker that is leaving is for nobody.
            worker.let_go();
            return None;
        }
        worker.requests.fetch_add(1, Ordering::Relaxed);
        Some(Self { worker: Arc::clone(worker), queue: queue.cloned() })
    }

    /// Gives the room of `worker` to the requests that wait for it in `queue`.
    pub(crate) fn serve_queue(worker: &Arc<Worker>, queue: &Arc<Queue<Self>>) {
        let take = || Self::take(worker, Some(queue));
        queue.serve((worker.id, worker.generation), take, Self::give_back);
    }

    /// Ends the lease without serving the queue.
    fn give_back(mut self) {
        self.queue = None;
        self.worker.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

impl std::ops::Deref for Lease {
    type Target = Worker;

    #[inline]
    fn deref(&self) -> &Worker {
        &self.worker
    }
}

impl Drop for Lease {
    #[inline]
    fn drop(&mut self) {
        self.worker.let_go();
        if let Some(queue) = self.queue.take() {
            Self::serve_queue(&self.worker, &queue);
        }
    }
}
