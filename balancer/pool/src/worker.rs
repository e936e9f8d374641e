//! One worker process, as the request path sees it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use shared_protocol::{Generation, TrafficReport, WorkerId};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::closing::Closing;
use crate::direct::DirectLoad;
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
    pub(crate) placed: AtomicU64,
    /// Connections that were upgraded and carry another protocol.
    pub(crate) tunnels: AtomicU64,
    /// Those of `placed` that are event streams.
    streams: AtomicU64,
    /// Those of `placed` that wait for their client.
    client_waits: AtomicU64,
    pub(crate) requests: AtomicU64,
    /// What it does for clients whose connections it has accepted itself.
    pub direct: DirectLoad,
    created: Instant,
    /// When one of its requests moved last, in nanoseconds since `created`.
    moved: AtomicU64,
    abandoned: AtomicU64,
    pub(crate) withdrawn: AtomicBool,
    /// Told each time that a withdrawn worker has no more requests, or only long-lived
    /// connections.
    idle: Notify,
    closing: Closing,
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
            direct: DirectLoad::default(),
            created: Instant::now(),
            moved: AtomicU64::new(0),
            abandoned: AtomicU64::new(0),
            withdrawn: AtomicBool::new(false),
            idle: Notify::new(),
            closing: Closing::default(),
        }
    }

    /// Requests that this worker holds now, upgraded connections included.
    #[inline]
    pub fn in_flight(&self) -> u64 {
        self.placed.load(Ordering::SeqCst) + self.tunnels()
    }

    /// The same with those of clients whose connections it has accepted itself.
    pub fn in_hand(&self) -> u64 {
        self.in_flight() + self.direct.in_flight()
    }

    /// Requests in flight that have a place under the concurrency limit: all but
    /// upgraded connections.
    #[inline]
    pub fn placed(&self) -> u64 {
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
            requests: placed.saturating_sub(self.streams.load(Ordering::Relaxed)) + self.direct.in_flight(),
            client_waits: self.client_waits.load(Ordering::Relaxed),
            moved: (self.created + Duration::from_nanos(self.moved.load(Ordering::Relaxed))).into_std(),
            abandoned: self.abandoned.load(Ordering::Relaxed),
        }
    }

    /// Requests ever handed to this worker, retries included, and those that it has had from
    /// clients itself.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed) + self.direct.requests()
    }

    /// Takes down what this worker has done for clients whose connections it has accepted itself.
    pub fn report(&self, report: &TrafficReport) {
        self.traffic.add(report);
        if self.direct.update(report) {
            self.moved();
        }
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

    /// Waits until this worker, which must have been withdrawn, has no more than long-lived
    /// connections. As [`Self::drained`], and not beside it.
    pub async fn requests_drained(&self) {
        while self.has_requests() {
            self.idle.notified().await;
        }
    }

    /// Are there others than long-lived connections?
    fn has_requests(&self) -> bool {
        self.placed() > self.streams.load(Ordering::SeqCst)
    }

    /// Asks the long-lived connections to end, spread evenly over this time.
    pub fn close_long_lived(&self, over: Duration) {
        self.closing.ask_long_lived(over, self.long_lived());
    }

    /// Asks everybody who holds this worker to let go of it at once.
    pub fn close_all(&self) {
        self.closing.ask_all();
    }

    /// Does this worker get no more requests?
    #[inline]
    pub fn is_withdrawn(&self) -> bool {
        self.withdrawn.load(Ordering::Relaxed)
    }

    /// Is everybody to let go of this worker at once?
    #[inline]
    pub fn is_closed(&self) -> bool {
        self.withdrawn.load(Ordering::Relaxed) && self.closing.is_asked_of_all()
    }

    /// Are long-lived connections to end, or everything?
    pub fn is_asked_to_close(&self) -> bool {
        self.closing.is_asked()
    }

    /// Ready when one who holds this worker is to let go of it.
    pub async fn closes(&self, is_long_lived: bool, clock: &impl Clock) {
        self.closing.ends(is_long_lived, clock).await;
    }

    /// The count beside `placed` of those that are held in this way.
    #[inline]
    pub(crate) fn counted_apart(&self, hold: Hold) -> Option<&AtomicU64> {
        match hold {
            Hold::Request | Hold::Tunnel => None,
            Hold::ClientWait => Some(&self.client_waits),
            Hold::Stream => Some(&self.streams),
        }
    }

    /// One request less.
    #[inline]
    pub(crate) fn let_go(&self, count: &AtomicU64) {
        count.fetch_sub(1, Ordering::SeqCst);
        self.notify_if_idle();
    }

    /// Something has ended, or is long-lived from now on.
    #[inline]
    pub(crate) fn notify_if_idle(&self) {
        if self.withdrawn.load(Ordering::SeqCst) && (self.in_flight() == 0 || !self.has_requests()) {
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
