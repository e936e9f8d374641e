//! One worker process, and a request's hold on it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use shared_protocol::{Generation, WorkerId};
use tokio::sync::Notify;

use super::queue::Line;
use super::traffic::Traffic;

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
    pub(super) withdrawn: AtomicBool,
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
    fn let_go(&self) {
        if self.in_flight.fetch_sub(1, Ordering::SeqCst) == 1 && self.withdrawn.load(Ordering::SeqCst) {
            self.idle.notify_one();
        }
    }
}

/// A picked worker. Counts as in flight until it is dropped, which also holds
/// when the request is abandoned or its task panics.
#[derive(Debug)]
pub struct Lease {
    worker: Arc<Worker>,
    /// Where somebody may wait for this to end.
    line: Option<Arc<Line>>,
}

impl Lease {
    /// Counts first and looks second: either this sees the withdrawal, or
    /// whoever withdraws sees the count. `SeqCst` makes that order total. With a
    /// `line`, counts only up to its cap.
    pub(super) fn take(worker: &Arc<Worker>, line: Option<&Arc<Line>>) -> Option<Self> {
        match line {
            None => {
                worker.in_flight.fetch_add(1, Ordering::SeqCst);
            }
            Some(line) => {
                let more = |count| (count < line.cap.concurrency).then_some(count + 1);
                worker.in_flight.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).ok()?;
            }
        }
        if worker.withdrawn.load(Ordering::SeqCst) {
            // Not by way of a lease: nobody gets the room of a worker that is leaving.
            worker.let_go();
            return None;
        }
        worker.requests.fetch_add(1, Ordering::Relaxed);
        Some(Self { worker: Arc::clone(worker), line: line.cloned() })
    }

    /// Ends it without a look at who waits.
    pub(super) fn give_back(mut self) {
        self.line = None;
        self.worker.requests.fetch_sub(1, Ordering::Relaxed);
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
        self.worker.let_go();
        if let Some(line) = self.line.take() {
            line.serve(&self.worker);
        }
    }
}
