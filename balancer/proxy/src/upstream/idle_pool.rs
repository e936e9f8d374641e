//! Idle connections to workers. The thread that made a connection keeps it, so no lock
//! is taken. A connection belongs to one process: another process that uses the same
//! port later never gets it.

use std::cell::RefCell;
use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::Duration;

use balancer_pool::Pool;
use pingora::protocols::Stream;
use shared_protocol::Generation;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Instant;

/// How long an idle connection is kept, unless its worker keeps it for a shorter time.
/// Bundled workers keep theirs longer (75 s), so none is closed just as a request is sent
/// on it.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Most idle connections that a thread keeps to one worker.
const MAX_IDLE: usize = 256;
/// Time between two sweeps.
pub(crate) const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

struct IdleConnection {
    stream: Stream,
    since: Instant,
    /// How long it is kept.
    longest: Duration,
}

impl IdleConnection {
    /// Is it idle for less than `idle_time`, and kept?
    fn is_within(&self, idle_time: Duration) -> bool {
        self.since.elapsed() < idle_time.min(self.longest)
    }
}

/// This thread's idle connections.
struct IdlePool {
    workers: Vec<IdleWorker>,
}

/// The idle connections to one worker, the latest used last.
struct IdleWorker {
    generation: Generation,
    connections: Vec<IdleConnection>,
}

thread_local! {
    static IDLE: RefCell<IdlePool> = const { RefCell::new(IdlePool { workers: Vec::new() }) };
}

impl IdlePool {
    /// The connection that was used last, if it has been idle for less than `idle_time`.
    fn pop(&mut self, generation: Generation, idle_time: Duration) -> Option<IdleConnection> {
        let worker = self.workers.iter_mut().find(|worker| worker.generation == generation)?;
        worker.connections.pop_if(|connection| connection.is_within(idle_time))
    }

    fn push(&mut self, generation: Generation, connection: IdleConnection) {
        let index = self.workers.iter().position(|worker| worker.generation == generation);
        let index = index.unwrap_or_else(|| {
            self.workers.push(IdleWorker { generation, connections: vec![] });
            self.workers.len() - 1
        });
        let connections = &mut self.workers[index].connections;
        if connections.len() < MAX_IDLE {
            connections.push(connection);
        }
    }

    fn retain(&mut self, is_ready: impl Fn(Generation) -> bool) {
        self.workers.retain_mut(|worker| {
            worker.connections.retain(|connection| connection.is_within(IDLE_TIMEOUT));
            is_ready(worker.generation)
        });
    }
}

/// Takes a connection to the worker that has been idle for less than `idle_time` and is
/// still open, as far as this thread knows.
pub(crate) fn take(generation: Generation, idle_time: Duration) -> Option<Stream> {
    loop {
        let mut connection = IDLE.with_borrow_mut(|idle| idle.pop(generation, idle_time))?;
        if is_quiet(&mut connection.stream) {
            return Some(connection.stream);
        }
    }
}

/// Keeps a connection to the worker, for `longest` at most.
pub(crate) fn put(generation: Generation, stream: Stream, longest: Duration) {
    let connection = IdleConnection { stream, since: Instant::now(), longest };
    IDLE.with_borrow_mut(|idle| idle.push(generation, connection));
}

/// Drops this thread's connections that have been idle for too long, or whose worker
/// gets no more requests.
pub(crate) fn sweep(pool: &Pool) {
    let ready = pool.ready();
    let is_ready = |generation| ready.iter().any(|worker| worker.generation == generation);
    IDLE.with_borrow_mut(|idle| idle.retain(is_ready));
}

/// Drops all of this thread's connections while there is an event loop to take them out
/// of: the thread's own end is too late for that.
pub(crate) fn clear() {
    let workers = IDLE.with_borrow_mut(|idle| std::mem::take(&mut idle.workers));
    drop(workers);
}

/// Neither closed by the worker, nor with bytes that no request asked for.
fn is_quiet(stream: &mut Stream) -> bool {
    let mut byte = [0];
    let mut context = Context::from_waker(Waker::noop());
    Pin::new(stream).poll_read(&mut context, &mut ReadBuf::new(&mut byte)).is_pending()
}
