//! One worker process, and a request's hold on it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use shared_protocol::{Generation, WorkerId};

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
            worker.in_flight.fetch_sub(1, Ordering::SeqCst);
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
        self.worker.in_flight.fetch_sub(1, Ordering::SeqCst);
        if let Some(line) = self.line.take() {
            line.serve(&self.worker);
        }
    }
}
