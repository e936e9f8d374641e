//! The queue of requests that wait for a worker with room: first come, first
//! served, bounded in length and in time.
//!
//! It exists only where workers have a concurrency limit. Invariant: whoever
//! frees room looks for waiting requests afterwards, and whoever joins looks for
//! room afterwards, so no room stays unused while a request waits. Room is passed
//! on under the lock, so no request that comes later gets in between.
//!
//! What is passed on (`T`) is the pool's lease; the queue need not know it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shared_protocol::{Generation, WorkerId};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::request::{Affinity, PickRequest};

/// How many requests a worker holds at a time, and what happens to further ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConcurrencyLimit {
    /// Requests that one worker process holds at a time.
    pub max_concurrency: u64,
    /// Requests of the whole cluster that may wait.
    pub queue: usize,
    /// How long one of them may wait.
    pub queue_timeout: Duration,
}

/// Requests that got no worker although workers were ready, by reason.
#[derive(Debug, Default)]
pub struct QueueStats {
    /// The queue was full.
    pub full: AtomicU64,
    /// The request waited for the whole queue timeout.
    pub timed_out: AtomicU64,
    /// The client left the queue by itself.
    pub client_left: AtomicU64,
}

#[derive(Debug)]
pub(crate) struct Queue<T> {
    pub(crate) limit: ConcurrencyLimit,
    pub(crate) stats: QueueStats,
    /// The number of entries, to be read without the lock.
    length: AtomicUsize,
    entries: Mutex<Entries<T>>,
}

#[derive(Debug)]
struct Entries<T> {
    last_ticket: u64,
    waiting: VecDeque<QueueEntry<T>>,
    course: Course,
}

/// How the queue was since somebody has read it last.
#[derive(Debug)]
struct Course {
    since: Instant,
    /// The time for which requests have waited, all of them together, until `changed`.
    total: Duration,
    changed: Instant,
    joined: u64,
    /// The longest wait that has ended.
    longest: Duration,
}

/// How the queue was for a while.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct QueueReading {
    /// Requests that waited, on average over the time.
    pub waiting: f64,
    /// Requests that began to wait.
    pub joined: u64,
    /// The longest wait of those that ended or go on.
    pub longest: Duration,
}

/// One waiting request.
#[derive(Debug)]
struct QueueEntry<T> {
    ticket: u64,
    since: Instant,
    excluded: Vec<Generation>,
    affinity: Option<WorkerId>,
    sender: oneshot::Sender<T>,
}

impl<T> Entries<T> {
    /// So much has been waited for until now; before each change of the queue's length.
    fn account(&mut self) -> Instant {
        let (now, waiting) = (Instant::now(), u32::try_from(self.waiting.len()).unwrap_or(u32::MAX));
        let course = &mut self.course;
        course.total = course.total.saturating_add((now - course.changed).saturating_mul(waiting));
        course.changed = now;
        now
    }

    /// Takes this entry out of the queue.
    fn remove(&mut self, index: usize) -> Option<QueueEntry<T>> {
        let now = self.account();
        let entry = self.waiting.remove(index)?;
        self.course.longest = self.course.longest.max(now - entry.since);
        Some(entry)
    }
}

impl<T> QueueEntry<T> {
    fn accepts(&self, id: WorkerId, generation: Generation) -> bool {
        self.affinity.is_none_or(|affinity| affinity == id) && !self.excluded.contains(&generation)
    }
}

/// A request's place in the queue. Dropping it leaves the queue.
#[derive(Debug)]
pub(crate) struct QueueTicket<T> {
    number: u64,
    queue: Arc<Queue<T>>,
    pub(crate) lease: oneshot::Receiver<T>,
    pub(crate) has_timed_out: bool,
}

impl<T> Queue<T> {
    pub(crate) fn new(limit: ConcurrencyLimit) -> Self {
        let now = Instant::now();
        let course =
            Course { since: now, total: Duration::ZERO, changed: now, joined: 0, longest: Duration::ZERO };
        let entries = Entries { last_ticket: 0, waiting: VecDeque::new(), course };
        Self {
            limit,
            stats: QueueStats::default(),
            length: AtomicUsize::new(0),
            entries: Mutex::new(entries),
        }
    }

    /// Requests that wait now.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.length.load(Ordering::SeqCst)
    }

    /// How the queue was since the last call. For one reader.
    pub(crate) fn read(&self) -> QueueReading {
        let mut entries = self.lock();
        let now = entries.account();
        // The first one in the queue waits longest.
        let oldest = entries.waiting.front().map_or(Duration::ZERO, |entry| now - entry.since);
        let course = &mut entries.course;
        let time = now - course.since;
        let waiting = if time.is_zero() { 0.0 } else { course.total.as_secs_f64() / time.as_secs_f64() };
        let reading = QueueReading { waiting, joined: course.joined, longest: course.longest.max(oldest) };
        *course =
            Course { since: now, total: Duration::ZERO, changed: now, joined: 0, longest: Duration::ZERO };
        reading
    }

    /// Takes the last place in the queue; `None` when the queue is full.
    pub(crate) fn join(self: &Arc<Self>, request: PickRequest<'_>) -> Option<QueueTicket<T>> {
        let mut entries = self.lock();
        if entries.waiting.len() >= self.limit.queue {
            return None;
        }
        let since = entries.account();
        entries.course.joined += 1;
        entries.last_ticket += 1;
        let (ticket, (sender, lease)) = (entries.last_ticket, oneshot::channel());
        let (excluded, affinity) = (request.excluded.to_vec(), request.affinity.and_then(Affinity::bound_to));
        entries.waiting.push_back(QueueEntry { ticket, since, excluded, affinity, sender });
        self.length.store(entries.waiting.len(), Ordering::SeqCst);
        drop(entries);
        Some(QueueTicket { number: ticket, queue: Arc::clone(self), lease, has_timed_out: false })
    }

    /// Gives the room of one worker to the requests that have waited for it longest.
    /// `take` takes a lease while the worker has room; `give_back` returns one that
    /// its request did not wait for, without serving the queue again.
    pub(crate) fn serve(
        &self,
        (id, generation): (WorkerId, Generation),
        take: impl Fn() -> Option<T>,
        give_back: impl Fn(T),
    ) {
        if self.len() == 0 {
            return;
        }
        let mut entries = self.lock();
        while let Some(index) = entries.waiting.iter().position(|entry| entry.accepts(id, generation)) {
            let Some(lease) = take() else { break };
            if let Some(entry) = entries.remove(index)
                && let Err(lease) = entry.sender.send(lease)
            {
                // The request was just leaving: the room is for the next one.
                give_back(lease);
            }
            self.length.store(entries.waiting.len(), Ordering::SeqCst);
        }
    }

    /// Releases every waiting request from an affinity to a worker that is not among
    /// `ready`, or that has failed this request.
    pub(crate) fn release_affinities<I>(&self, ready: impl Fn() -> I)
    where
        I: Iterator<Item = (WorkerId, Generation)>,
    {
        if self.len() == 0 {
            return;
        }
        for entry in &mut self.lock().waiting {
            let excluded = &entry.excluded;
            let is_ready = |affinity: &WorkerId| {
                ready().any(|(id, generation)| id == *affinity && !excluded.contains(&generation))
            };
            entry.affinity = entry.affinity.filter(is_ready);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Entries<T>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Drop for QueueTicket<T> {
    fn drop(&mut self) {
        let mut entries = self.queue.lock();
        let Some(index) = entries.waiting.iter().position(|entry| entry.ticket == self.number) else {
            return;
        };
        entries.remove(index);
        self.queue.length.store(entries.waiting.len(), Ordering::SeqCst);
        drop(entries);
        let stats = &self.queue.stats;
        let count = if self.has_timed_out { &stats.timed_out } else { &stats.client_left };
        count.fetch_add(1, Ordering::Relaxed);
    }
}
