//! Slots whose workers accept clients' connections themselves: while one has no ready worker,
//! its connections are accepted here, and relayed to the others.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::TcpListener as StdTcpListener;
use std::sync::Arc;
use std::task::{Context, Poll};

use balancer_pool::{Pool, PoolChanges};
use balancer_state::slot_sockets::{RelayedSlot, SlotSockets};
use shared_protocol::WorkerId;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::accepted::{Accepted, AcceptedSocket, ListenerOptions};

/// All slots, as the serving threads share them.
#[derive(Debug, Clone)]
pub struct Slots {
    pub sockets: Arc<SlotSockets>,
    pub pool: Arc<Pool>,
}

/// What one of `threads` threads accepts from.
#[derive(Debug)]
pub(super) struct SlotShare {
    slots: Slots,
    own: usize,
    threads: usize,
    pool_changes: PoolChanges,
    changes: watch::Receiver<u64>,
    accepting: Vec<SlotAcceptor>,
    /// What had come to sockets that are no more.
    waiting: VecDeque<Accepted>,
    options: Arc<ListenerOptions>,
    has_begun: bool,
}

#[derive(Debug)]
struct SlotAcceptor {
    id: WorkerId,
    /// Keeps the socket from being closed before its queue is empty.
    socket: Arc<StdTcpListener>,
    listener: TcpListener,
}

impl SlotShare {
    pub(super) fn new(slots: &Slots, own: usize, threads: usize) -> Self {
        Self {
            own,
            threads,
            pool_changes: slots.pool.changes(),
            changes: slots.sockets.changes(),
            accepting: Vec::new(),
            waiting: VecDeque::new(),
            has_begun: false,
            options: Arc::default(),
            slots: slots.clone(),
        }
    }

    /// The next connection that nobody else accepts.
    pub(super) async fn accept(&mut self) -> io::Result<Accepted> {
        if !self.has_begun {
            self.has_begun = true;
            self.update();
        }
        loop {
            if let Some(accepted) = self.waiting.pop_front() {
                return Ok(accepted);
            }
            let (accepting, options) = (&self.accepting, &self.options);
            tokio::select! {
                accepted = poll_fn(|cx| poll_accept(accepting, options, cx)) => return accepted,
                () = self.pool_changes.next() => {}
                Ok(()) = self.changes.changed() => {}
            }
            self.update();
        }
    }

    /// Accepts from those slots that have no ready worker now, and no others.
    fn update(&mut self) {
        let mut relayed = self.slots.sockets.relayed(&self.slots.pool);
        relayed.retain(|slot| slot.id.0 as usize % self.threads == self.own);
        let is_same = |one: &SlotAcceptor, slot: &RelayedSlot| {
            one.id == slot.id && Arc::ptr_eq(&one.socket, &slot.socket)
        };
        let gone = self.accepting.extract_if(.., |one| !relayed.iter().any(|slot| is_same(one, slot)));
        // Who has a socket that nobody else has closes it.
        let gone: Vec<_> = gone.filter(|one| Arc::strong_count(&one.socket) == 1).collect();
        for one in gone {
            self.waiting.extend(waiting(&one.socket, &self.options));
        }
        for RelayedSlot { id, socket } in relayed {
            if self.accepting.iter().any(|one| one.id == id) {
                continue;
            }
            // In vain without descriptors: it is tried again with the next change.
            if let Ok(listener) = register(&socket) {
                self.accepting.push(SlotAcceptor { id, socket, listener });
            }
        }
    }

    /// Ends all slots, and returns what waits in their queues.
    pub(super) fn end(mut self) -> Vec<Accepted> {
        let mut sockets: Vec<_> = self.slots.sockets.end().into_iter().map(|slot| slot.socket).collect();
        sockets.extend(self.accepting.drain(..).map(|one| one.socket));
        let mut all: Vec<_> = self.waiting.drain(..).collect();
        all.extend(sockets.iter().flat_map(|socket| waiting(socket, &self.options)));
        all
    }
}

fn poll_accept(
    accepting: &[SlotAcceptor],
    options: &Arc<ListenerOptions>,
    cx: &mut Context<'_>,
) -> Poll<io::Result<Accepted>> {
    for one in accepting {
        if let Poll::Ready(accepted) = one.listener.poll_accept(cx) {
            let with = |(stream, peer)| (AcceptedSocket::Tcp(stream, peer), Arc::clone(options));
            return Poll::Ready(accepted.map(with));
        }
    }
    Poll::Pending
}

fn waiting(socket: &StdTcpListener, options: &Arc<ListenerOptions>) -> Vec<Accepted> {
    let next = || {
        // A program that has the socket as well may have changed that for all (fcntl(2)).
        socket.set_nonblocking(true).ok()?;
        let (stream, peer) = socket.accept().ok()?;
        stream.set_nonblocking(true).ok()?;
        let stream = TcpStream::from_std(stream).ok()?;
        Some((AcceptedSocket::Tcp(stream, peer), Arc::clone(options)))
    };
    std::iter::from_fn(next).collect()
}

fn register(socket: &StdTcpListener) -> io::Result<TcpListener> {
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.try_clone()?)
}
