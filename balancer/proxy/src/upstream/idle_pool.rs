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

/// How long an idle connection is kept. Bundled workers keep theirs longer (75 s), so
/// none is closed just as a request is sent on it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Most idle connections that a thread keeps to one worker.
const MAX_IDLE: usize = 256;
/// Time between two sweeps.
pub(crate) const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

struct IdleConnection {
    stream: Stream,
    since: Instant,
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
    fn pop(&mut self, generation: Generation) -> Option<IdleConnection> {
        self.workers.iter_mut().find(|worker| worker.generation == generation)?.connections.pop()
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
            worker.connections.retain(|connection| connection.since.elapsed() < IDLE_TIMEOUT);
            is_ready(worker.generation)
        });
    }
}

/// Takes an idle connection to the worker that is still open, as far as this thread
/// knows.
pub(crate) fn take(generation: Generation) -> Option<Stream> {
    loop {
        let IdleConnection { mut stream, since } = IDLE.with_borrow_mut(|idle| idle.pop(generation))?;
        if since.elapsed() < IDLE_TIMEOUT && is_quiet(&mut stream) {
            return Some(stream);
        }
    }
}

/// Keeps a connection to the worker.
pub(crate) fn put(generation: Generation, stream: Stream) {
    let connection = IdleConnection { stream, since: Instant::now() };
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
