//! Connections to workers. Unused ones are kept by the thread that made them,
//! so no lock is taken, and belong to one process: a port that is used again by
//! another one never gets them.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::Duration;

use pingora::connectors::TransportConnector;
use pingora::protocols::Stream;
use pingora::upstreams::peer::HttpPeer;
use shared_protocol::Generation;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, timeout};

use super::buffer::Inbox;
use balancer_pool::Pool;

/// To connect to a worker, which is on this machine.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long an unused connection is kept; bundled workers keep theirs longer
/// (75 s), so none is closed just as a request is sent on it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Unused connections that a thread keeps to one worker.
const MAX_IDLE: usize = 256;
/// How often kept connections are looked through.
pub(super) const SWEEP: Duration = Duration::from_secs(1);

/// A connection that carries a request.
pub(super) struct Upstream {
    pub(super) io: Stream,
    pub(super) inbox: Inbox,
    pub(super) generation: Generation,
    pub(super) reused: bool,
}

struct Idle {
    io: Stream,
    since: Instant,
}

/// The kept connections to one worker, the latest used last.
struct Shelf {
    generation: Generation,
    connections: Vec<Idle>,
}

thread_local! {
    static SHELVES: RefCell<Vec<Shelf>> = const { RefCell::new(Vec::new()) };
}

impl Upstream {
    /// A kept connection that is still open, as far as this thread has heard.
    pub(super) fn kept(generation: Generation) -> Option<Self> {
        loop {
            let Idle { io, since } = SHELVES.with_borrow_mut(|shelves| {
                shelves.iter_mut().find(|shelf| shelf.generation == generation)?.connections.pop()
            })?;
            let mut upstream = Self { io, inbox: Inbox::default(), generation, reused: true };
            if since.elapsed() < IDLE_TIMEOUT && upstream.is_quiet() {
                return Some(upstream);
            }
        }
    }

    /// Connects. The error says whether it took too long.
    pub(super) async fn connect(
        connector: &TransportConnector,
        generation: Generation,
        address: SocketAddr,
    ) -> Result<Self, bool> {
        // Without Pingora's own timeout, for which a thread wakes 100 times a second.
        let peer = HttpPeer::new(address, false, String::new());
        // Boxed: seldom needed, and large beside all else that a request keeps.
        match Box::pin(timeout(CONNECT_TIMEOUT, connector.new_stream(&peer))).await {
            Ok(Ok(io)) => Ok(Self { io, inbox: Inbox::default(), generation, reused: false }),
            Ok(Err(err)) => {
                tracing::debug!(%address, %err, "could not connect to a worker");
                Err(false)
            }
            Err(_) => Err(true),
        }
    }

    /// Keeps the connection for a later request. Its last one is answered.
    pub(super) fn keep(self) {
        let idle = Idle { io: self.io, since: Instant::now() };
        SHELVES.with_borrow_mut(|shelves| {
            let index = shelves.iter().position(|shelf| shelf.generation == self.generation);
            let index = index.unwrap_or_else(|| {
                shelves.push(Shelf { generation: self.generation, connections: vec![] });
                shelves.len() - 1
            });
            let shelf = &mut shelves[index].connections;
            if shelf.len() < MAX_IDLE {
                shelf.push(idle);
            }
        });
    }

    /// Neither closed nor with bytes that nobody asked for.
    fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        let mut context = Context::from_waker(Waker::noop());
        Pin::new(&mut self.io).poll_read(&mut context, &mut ReadBuf::new(&mut byte)).is_pending()
    }
}

/// Drops this thread's connections that are unused for too long, or whose worker
/// no longer gets requests.
pub(super) fn sweep(pool: &Pool) {
    let ready = pool.ready();
    SHELVES.with_borrow_mut(|shelves| {
        shelves.retain_mut(|shelf| {
            shelf.connections.retain(|idle| idle.since.elapsed() < IDLE_TIMEOUT);
            ready.iter().any(|worker| worker.generation == shelf.generation)
        });
    });
}

/// Drops all of this thread's connections, while there is an event loop to take
/// them out of: the thread's own end is too late for that.
pub(super) fn clear() {
    SHELVES.take();
}
