//! A request's hold on a worker.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::queue::Queue;
use crate::worker::{Hold, Worker};

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
            count.fetch_add(1, Ordering::SeqCst);
        }
        if hold == Hold::Stream {
            self.worker.notify_if_idle();
        }
    }

    /// The worker itself, for what outlives a borrow of the lease.
    pub fn worker(&self) -> &Arc<Worker> {
        &self.worker
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
            count.fetch_sub(1, Ordering::SeqCst);
        }
        let is_tunnel = self.hold == Hold::Tunnel;
        self.worker.let_go(if is_tunnel { &self.worker.tunnels } else { &self.worker.placed });
        if let Some(queue) = self.queue.take() {
            Self::serve_queue(&self.worker, &queue);
        }
    }
}
