//! Which serving thread gets a connection. The kernel gives each thread as many as the
//! others only in the long run. A thread that has more than its share by chance, and
//! keeps them, would make all of its clients wait longer.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::accepted::{AcceptedSocket, ListenerOptions, TakenSocket};

/// Lead in open connections from which on a thread hands a new one over to the thread
/// with the fewest. Handing over costs a wake-up, so it should not happen for each.
const LEAD: usize = 4;

/// A connection that was accepted and is served on this thread's event loop.
#[derive(Debug)]
pub(super) struct AcceptedConnection {
    pub(super) socket: AcceptedSocket,
    pub(super) options: Arc<ListenerOptions>,
    /// `None` for a connection that had come when the listener closed: it is served
    /// without one.
    pub(super) permit: Option<OwnedSemaphorePermit>,
}

/// A connection on its way to another thread, out of the event loop of the first.
#[derive(Debug)]
pub(super) struct HandedOver {
    socket: TakenSocket,
    options: Arc<ListenerOptions>,
    permit: Option<OwnedSemaphorePermit>,
    count: ConnectionCount,
}

impl HandedOver {
    /// Puts it into the event loop of this thread.
    pub(super) fn accept(self) -> io::Result<(AcceptedConnection, ConnectionCount)> {
        let Self { socket, options, permit, count } = self;
        Ok((AcceptedConnection { socket: socket.into_tokio()?, options, permit }, count))
    }
}

/// A serving thread, as the others see it.
#[derive(Debug)]
struct ThreadLoad {
    /// Its open connections.
    open: Arc<AtomicUsize>,
    sender: mpsc::UnboundedSender<HandedOver>,
}

/// Counts as one open connection until it is dropped.
#[derive(Debug)]
pub(super) struct ConnectionCount(Arc<AtomicUsize>);

impl ConnectionCount {
    fn add(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(open))
    }
}

impl Drop for ConnectionCount {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// All serving threads, as one of them sees them.
#[derive(Debug)]
pub(super) struct Handoff {
    threads: Arc<[ThreadLoad]>,
    /// The index of this thread.
    own: usize,
    /// Connections that others have accepted for this thread. The permits bound it.
    pub(super) received: mpsc::UnboundedReceiver<HandedOver>,
}

impl Handoff {
    pub(super) fn new(threads: usize) -> Vec<Self> {
        let (threads, receivers): (Vec<_>, Vec<_>) = (0..threads)
            .map(|_| {
                let (sender, received) = mpsc::unbounded_channel();
                (ThreadLoad { open: Arc::default(), sender }, received)
            })
            .unzip();
        let threads: Arc<[ThreadLoad]> = threads.into();
        let receivers = receivers.into_iter().enumerate();
        receivers.map(|(own, received)| Self { threads: Arc::clone(&threads), own, received }).collect()
    }

    /// Hands the connection over to another thread, or returns it to be served here.
    pub(super) fn assign(
        &self,
        connection: AcceptedConnection,
    ) -> Option<(AcceptedConnection, ConnectionCount)> {
        let open = |thread: &ThreadLoad| thread.open.load(Ordering::Relaxed);
        let chosen = choose(self.threads.iter().map(open), self.own);
        if chosen == self.own {
            return Some((connection, self.count_own()));
        }
        let count = ConnectionCount::add(&self.threads[chosen].open);
        let AcceptedConnection { socket, options, permit } = connection;
        // The descriptor is this process's own, so taking it out of the event loop does not fail.
        let socket = socket.into_std().ok()?;
        // That thread takes connections until the program ends, and then no thread does.
        let _ = self.threads[chosen].sender.send(HandedOver { socket, options, permit, count });
        None
    }

    /// Counts a connection that is served here in any case.
    pub(super) fn count_own(&self) -> ConnectionCount {
        ConnectionCount::add(&self.threads[self.own].open)
    }
}

/// The thread with the fewest connections, if it has fewer by more than the lead.
fn choose(open: impl Iterator<Item = usize> + Clone, own: usize) -> usize {
    let mine = open.clone().nth(own).unwrap_or(0);
    let least = open.enumerate().min_by_key(|&(_, open)| open);
    least.filter(|&(_, open)| open + LEAD < mine).map_or(own, |(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(open: &[usize], own: usize) -> usize {
        choose(open.iter().copied(), own)
    }

    #[test]
    fn a_thread_keeps_what_it_accepts_until_it_leads() {
        assert_eq!(chosen(&[0], 0), 0);
        assert_eq!(chosen(&[LEAD, 0], 0), 0);
        assert_eq!(chosen(&[LEAD + 1, 0], 0), 1);
        assert_eq!(chosen(&[LEAD + 1, 0], 1), 1);
        assert_eq!(chosen(&[9, 3, 2, 3], 0), 2, "the one with the fewest");
    }
}
