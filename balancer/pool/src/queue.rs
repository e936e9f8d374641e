//! Requests that wait for a worker to have room: who came first is served first,
//! there are never more than a given number, and none waits longer than a given
//! time.
//!
//! Exists only where workers have a cap. Invariant: whoever makes room looks for
//! waiters afterwards, and whoever joins looks for room afterwards, so that no
//! room is left unused while somebody waits. Room goes from hand to hand under
//! the lock, so nobody who comes later gets in between.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shared_protocol::{Generation, WorkerId};
use tokio::sync::oneshot;

use super::{Lease, Wish, Worker};

/// How many requests a worker may hold at a time, and what becomes of more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cap {
    /// Requests that one worker process holds at a time.
    pub concurrency: u64,
    /// Requests of all workers together that may wait.
    pub queue: usize,
    /// How long one may wait.
    pub patience: Duration,
}

/// What became of those that did not get a worker.
#[derive(Debug, Default)]
pub struct Turned {
    /// Too many waited already.
    pub away: AtomicU64,
    /// Waited too long.
    pub late: AtomicU64,
    /// Left by themselves.
    pub left: AtomicU64,
}

#[derive(Debug)]
pub(super) struct Line {
    pub(super) cap: Cap,
    pub(super) turned: Turned,
    /// The length of `waiters`, to be read without the lock.
    waiting: AtomicUsize,
    waiters: Mutex<Waiters>,
}

#[derive(Debug, Default)]
struct Waiters {
    tickets: u64,
    queue: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    ticket: u64,
    tried: Vec<Generation>,
    bound_to: Option<WorkerId>,
    hand: oneshot::Sender<Lease>,
}

impl Waiter {
    fn takes(&self, worker: &Worker) -> bool {
        self.bound_to.is_none_or(|id| id == worker.id) && !self.tried.contains(&worker.generation)
    }
}

/// A place in the line; leaving it is dropping this.
#[derive(Debug)]
pub(super) struct Place {
    ticket: u64,
    line: Arc<Line>,
    pub(super) lease: oneshot::Receiver<Lease>,
    pub(super) is_late: bool,
}

impl Line {
    pub(super) fn new(cap: Cap) -> Self {
        Self { cap, turned: Turned::default(), waiting: AtomicUsize::new(0), waiters: Mutex::default() }
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    /// A place at the end, unless the line is full.
    pub(super) fn join(self: &Arc<Self>, wish: Wish<'_>) -> Option<Place> {
        let mut waiters = self.lock();
        if waiters.queue.len() >= self.cap.queue {
            return None;
        }
        waiters.tickets += 1;
        let (ticket, (hand, lease)) = (waiters.tickets, oneshot::channel());
        let (tried, bound_to) = (wish.tried.to_vec(), wish.bound_to);
        waiters.queue.push_back(Waiter { ticket, tried, bound_to, hand });
        self.waiting.store(waiters.queue.len(), Ordering::SeqCst);
        drop(waiters);
        Some(Place { ticket, line: Arc::clone(self), lease, is_late: false })
    }

    /// Hands out the room that `worker` has to those that have waited for it longest.
    pub(super) fn serve(self: &Arc<Self>, worker: &Arc<Worker>) {
        if self.waiting() == 0 {
            return;
        }
        let mut waiters = self.lock();
        while let Some(index) = waiters.queue.iter().position(|waiter| waiter.takes(worker)) {
            let Some(lease) = Lease::take(worker, Some(self)) else { break };
            if let Some(waiter) = waiters.queue.remove(index)
                && let Err(lease) = waiter.hand.send(lease)
            {
                // It was just leaving: the room is for the next.
                lease.give_back();
            }
            self.waiting.store(waiters.queue.len(), Ordering::SeqCst);
        }
    }

    /// Nobody waits any longer for a particular worker that is not `ready`.
    pub(super) fn unbind(&self, ready: &[Arc<Worker>]) {
        if self.waiting() == 0 {
            return;
        }
        for waiter in &mut self.lock().queue {
            let is_there = |id: &WorkerId| {
                ready.iter().any(|worker| worker.id == *id && !waiter.tried.contains(&worker.generation))
            };
            waiter.bound_to = waiter.bound_to.filter(is_there);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiters> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut waiters = self.line.lock();
        let Some(index) = waiters.queue.iter().position(|waiter| waiter.ticket == self.ticket) else {
            return;
        };
        waiters.queue.remove(index);
        self.line.waiting.store(waiters.queue.len(), Ordering::SeqCst);
        drop(waiters);
        let turned = &self.line.turned;
        let count = if self.is_late { &turned.late } else { &turned.left };
        count.fetch_add(1, Ordering::Relaxed);
    }
}
