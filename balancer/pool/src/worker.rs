//! One worker process, and a request's hold on it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use shared_protocol::{Generation, WorkerId};
use tokio::sync::Notify;
use tokio::time::Instant;

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
    /// Requests in flight that have a place under the concurrency limit.
    placed: AtomicU64,
    /// Connections that were upgraded and carry another protocol.
    tunnels: AtomicU64,
    /// Those of `placed` that are event streams.
    streams: AtomicU64,
    /// Those of `placed` that wait for their client.
    client_waits: AtomicU64,
    requests: AtomicU64,
    created: Instant,
    /// When one of its requests moved last, in nanoseconds since `created`.
    moved: AtomicU64,
    abandoned: AtomicU64,
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
            placed: AtomicU64::new(0),
            tunnels: AtomicU64::new(0),
            streams: AtomicU64::new(0),
            client_waits: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            created: Instant::now(),
            moved: AtomicU64::new(0),
            abandoned: AtomicU64::new(0),
            withdrawn: AtomicBool::new(false),
            idle: Notify::new(),
        }
    }

    /// Requests that this worker holds now, upgraded connections included.
    #[inline]
    pub fn in_flight(&self) -> u64 {
        self.placed.load(Ordering::SeqCst) + self.tunnels()
    }

    /// Requests in flight that have a place under the concurrency limit: all but
    /// upgraded connections.
    #[inline]
    pub(crate) fn placed(&self) -> u64 {
        self.placed.load(Ordering::SeqCst)
    }

    /// Upgraded connections that this worker holds now.
    #[inline]
    pub fn tunnels(&self) -> u64 {
        self.tunnels.load(Ordering::SeqCst)
    }

    /// Long-lived connections that this worker holds now: event streams and upgraded ones.
    pub fn long_lived(&self) -> u64 {
        self.streams.load(Ordering::Relaxed) + self.tunnels()
    }

    /// A request moves now: bytes came from this worker, or it took some.
    #[inline]
    pub fn moved(&self) {
        let nanos = u64::try_from(self.created.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.moved.store(nanos, Ordering::Relaxed);
    }

    /// A request was given up, and this worker may still be at work on it.
    pub fn abandoned(&self) {
        self.abandoned.fetch_add(1, Ordering::Relaxed);
    }

    /// What this worker has in hand, for a verdict on its health.
    pub fn workload(&self) -> Workload {
        let placed = self.placed();
        Workload {
            requests: placed.saturating_sub(self.streams.load(Ordering::Relaxed)),
            client_waits: self.client_waits.load(Ordering::Relaxed),
            moved: (self.created + Duration::from_nanos(self.moved.load(Ordering::Relaxed))).into_std(),
            abandoned: self.abandoned.load(Ordering::Relaxed),
        }
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

    /// The count beside `placed` of those that are held in this way.
    #[inline]
    fn counted_apart(&self, hold: Hold) -> Option<&AtomicU64> {
        match hold {
            Hold::Request | Hold::Tunnel => None,
            Hold::ClientWait => Some(&self.client_waits),
            Hold::Stream => Some(&self.streams),
        }
    }

    /// One request less.
    #[inline]
    fn let_go(&self, count: &AtomicU64) {
        count.fetch_sub(1, Ordering::SeqCst);
        if self.withdrawn.load(Ordering::SeqCst) && self.in_flight() == 0 {
            self.idle.notify_one();
        }
    }
}

/// What a worker has in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Workload {
    /// Requests in flight, without event streams and upgraded connections.
    pub requests: u64,
    /// Those of them that wait for their client: the worker can do nothing for them.
    pub client_waits: u64,
    /// When one of its requests moved last; when it was made, if none ever did.
    pub moved: std::time::Instant,
    /// Requests that were given up so far and that it may still be at work on.
    pub abandoned: u64,
}

/// What a lease keeps its worker with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// A request that the worker is at work on.
    Request,
    /// A request that waits for its client to send or to take more.
    ClientWait,
    /// A response that is an event stream: it may be silent for any time.
    Stream,
    /// An upgraded connection. It has no place under the concurrency limit.
    Tunnel,
}

/// A picked worker. It counts as in flight until it is dropped, also when the
/// request is abandoned or its task panics.
#[derive(Debug)]
pub struct Lease {
    worker: Arc<Worker>,
    hold: Hold,
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
                worker.placed.fetch_add(1, Ordering::SeqCst);
            }
            Some(queue) => {
                let more = |count| (count < queue.limit.max_concurrency).then_some(count + 1);
                worker.placed.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).ok()?;
            }
        }
        if worker.withdrawn.load(Ordering::SeqCst) {
            // Not by way of a lease: the room of a worker that is leaving is for nobody.
            worker.let_go(&worker.placed);
            return None;
        }
        worker.requests.fetch_add(1, Ordering::Relaxed);
        Some(Self { worker: Arc::clone(worker), hold: Hold::Request, queue: queue.cloned() })
    }

    /// Says what the worker is kept with from now on. A tunnel stays one.
    #[inline]
    pub fn hold(&mut self, hold: Hold) {
        if hold == self.hold || self.hold == Hold::Tunnel {
            return;
        }
        if hold == Hold::Tunnel {
            self.hold_tunnel(None);
            return;
        }
        if let Some(count) = self.worker.counted_apart(self.hold) {
            count.fetch_sub(1, Ordering::Relaxed);
        }
        self.hold = hold;
        if let Some(count) = self.worker.counted_apart(hold) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The worker is kept with a tunnel from now on, unless it has `max_tunnels` of them
    /// already. Says whether it had not. For a lease that is none yet.
    pub fn hold_tunnel(&mut self, max_tunnels: Option<u64>) -> bool {
        let more = |count| max_tunnels.is_none_or(|max| count < max).then_some(count + 1);
        // It counts at any time, so that no drain sees a worker without it.
        if self.worker.tunnels.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).is_err() {
            return false;
        }
        if let Some(count) = self.worker.counted_apart(self.hold) {
            count.fetch_sub(1, Ordering::Relaxed);
        }
        self.hold = Hold::Tunnel;
        self.worker.let_go(&self.worker.placed);
        if let Some(queue) = self.queue.take() {
            Self::serve_queue(&self.worker, &queue);
        }
        true
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
        if let Some(count) = self.worker.counted_apart(self.hold) {
            count.fetch_sub(1, Ordering::Relaxed);
        }
        let is_tunnel = self.hold == Hold::Tunnel;
        self.worker.let_go(if is_tunnel { &self.worker.tunnels } else { &self.worker.placed });
        if let Some(queue) = self.queue.take() {
            Self::serve_queue(&self.worker, &queue);
        }
    }
}
