//! A bounded pool of threads for work that computes, away from the event loop.
//!
//! A job waits in a bounded queue. Whoever drops the [`Ticket`] of a waiting job
//! takes it out of the queue, so that a client that went away frees its place
//! at once; a job that runs is finished.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::thread;

use tokio::sync::oneshot;

/// Enough for a recursion of some hundred frames.
const STACK_BYTES: usize = 256 * 1024;

pub(crate) struct ComputePool {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Mutex<Queue>,
    /// Signalled once for each job put into the queue.
    queued: Condvar,
}

struct Queue {
    waiting: VecDeque<Job>,
    /// Places in `waiting`, beside one for each thread that has nothing to do.
    places: usize,
    idle: usize,
    next_id: u64,
    closed: bool,
}

struct Job {
    id: u64,
    work: Box<dyn FnOnce() + Send>,
}

impl Shared {
    /// No code that can panic runs under the lock, so the queue is always whole.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All threads compute and all places in the queue are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

impl ComputePool {
    pub(crate) fn start(threads: usize, places: usize) -> io::Result<Self> {
        let queue = Queue { waiting: VecDeque::new(), places, idle: threads, next_id: 0, closed: false };
        let shared = Arc::new(Shared { queue: Mutex::new(queue), queued: Condvar::new() });
        let pool = Self { shared };
        for index in 0..threads {
            let shared = Arc::clone(&pool.shared);
            thread::Builder::new()
                .name(format!("compute-{index}"))
                .stack_size(STACK_BYTES)
                .spawn(move || work(&shared))?;
        }
        Ok(pool)
    }

    pub(crate) fn submit<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Ticket<T>, Full> {
        let (reply, answer) = oneshot::channel();
        let work = Box::new(move || {
            let _ = reply.send(work());
        });
        let mut queue = self.shared.lock();
        if queue.waiting.len() >= queue.places + queue.idle {
            return Err(Full);
        }
        let id = queue.next_id;
        queue.next_id += 1;
        queue.waiting.push_back(Job { id, work });
        drop(queue);
        self.shared.queued.notify_one();
        Ok(Ticket { id, answer, shared: Arc::clone(&self.shared) })
    }
}

impl Drop for ComputePool {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.queued.notify_all();
    }
}

fn work(shared: &Shared) {
    let mut queue = shared.lock();
    loop {
        if queue.closed {
            return;
        }
        let Some(job) = queue.waiting.pop_front() else {
            queue = shared.queued.wait(queue).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        queue.idle -= 1;
        drop(queue);
        // The ticket learns of a panic through its dropped sender.
        let _ = catch_unwind(AssertUnwindSafe(job.work));
        queue = shared.lock();
        queue.idle += 1;
    }
}

/// The answer to come; `None` when the work panicked.
pub(crate) struct Ticket<T> {
    id: u64,
    answer: oneshot::Receiver<T>,
    shared: Arc<Shared>,
}

impl<T> Future for Ticket<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.answer).poll(cx).map(Result::ok)
    }
}

impl<T> Drop for Ticket<T> {
    fn drop(&mut self) {
        let mut queue = self.shared.lock();
        if let Ok(index) = queue.waiting.binary_search_by_key(&self.id, |job| job.id) {
            queue.waiting.remove(index);
        }
    }
}

/// The n-th Fibonacci number by the definition, in exponential time: the point
/// is the work. `n` is at most 93.
pub(crate) fn fibonacci(n: u32) -> u64 {
    // Else the compiler may turn one of the two calls into a loop, or fold.
    match std::hint::black_box(n) {
        0 => 0,
        1 => 1,
        n => fibonacci(n - 1) + fibonacci(n - 2),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn fibonacci_numbers() {
        let numbers: Vec<u64> = (0..=10).map(fibonacci).collect();
        assert_eq!(numbers, [0, 1, 1, 2, 3, 5, 8, 13, 21, 34, 55]);
        assert_eq!(fibonacci(25), 75_025);
    }

    #[tokio::test]
    async fn the_queue_is_bounded_and_a_dropped_ticket_frees_its_place() {
        let pool = ComputePool::start(1, 1).unwrap();
        let (go, gate) = mpsc::channel::<()>();
        let running = pool.submit(move || gate.recv().unwrap()).unwrap();
        // The thread must have taken the first job, or its place is still used.
        while pool.shared.lock().idle > 0 {
            tokio::task::yield_now().await;
        }
        let waiting = pool.submit(|| 1).unwrap();
        assert_eq!(pool.submit(|| 2).err(), Some(Full));
        drop(waiting);
        let waiting = pool.submit(|| 3).expect("the place is free again");
        go.send(()).unwrap();
        assert_eq!(running.await, Some(()));
        assert_eq!(waiting.await, Some(3));
    }

    #[tokio::test]
    async fn a_panic_costs_neither_the_thread_nor_a_place() {
        let pool = ComputePool::start(1, 0).unwrap();
        assert_eq!(pool.submit(|| panic!("on purpose")).unwrap().await, None::<()>);
        loop {
            // The thread is idle a moment after the ticket has its answer.
            if let Ok(ticket) = pool.submit(|| 7) {
                assert_eq!(ticket.await, Some(7));
                break;
            }
            tokio::task::yield_now().await;
        }
    }
}
