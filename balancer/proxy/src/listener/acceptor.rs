//! What each serving thread accepts connections from: its own share of every listener.

use std::future::poll_fn;
use std::io;
use std::net::TcpListener as StdTcpListener;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::accepted::{Accepted, AcceptedSocket, ListenerOptions};
use super::slots::SlotShare;

/// A thread's share of one listener, before it is on the thread's event loop.
#[derive(Debug)]
pub(super) struct Share {
    pub(super) socket: ShareSocket,
    pub(super) options: Arc<ListenerOptions>,
}

#[derive(Debug)]
pub(super) enum ShareSocket {
    Tcp(StdTcpListener),
    Unix(StdUnixListener),
}

impl Share {
    /// The next connection that waits; none when there is none, or it cannot be had.
    pub(super) fn accept(&self) -> Option<Accepted> {
        let socket = match &self.socket {
            ShareSocket::Tcp(listener) => {
                let (stream, peer) = listener.accept().ok()?;
                stream.set_nonblocking(true).ok()?;
                AcceptedSocket::Tcp(TcpStream::from_std(stream).ok()?, peer)
            }
            ShareSocket::Unix(listener) => {
                let (stream, _) = listener.accept().ok()?;
                stream.set_nonblocking(true).ok()?;
                AcceptedSocket::Unix(UnixStream::from_std(stream).ok()?)
            }
        };
        Some((socket, Arc::clone(&self.options)))
    }
}

/// All shares of a thread, on its event loop.
#[derive(Debug)]
pub(super) struct Acceptors {
    all: Vec<Acceptor>,
    /// The one that is asked first, so that none waits for the others to fall silent.
    turn: usize,
    /// Where workers accept themselves.
    slots: Option<SlotShare>,
}

#[derive(Debug)]
struct Acceptor {
    socket: Socket,
    options: Arc<ListenerOptions>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Acceptors {
    /// To be called on the event loop.
    pub(super) fn new(shares: Vec<Share>, slots: Option<SlotShare>) -> io::Result<Self> {
        let all = shares.into_iter().map(Acceptor::new).collect::<io::Result<_>>()?;
        Ok(Self { all, turn: 0, slots })
    }

    /// The next connection of any listener.
    pub(super) async fn accept(&mut self) -> io::Result<Accepted> {
        match &mut self.slots {
            None => self.accept_own().await,
            Some(slots) => slots.accept().await,
        }
    }

    /// What waits at slots, which are left alone from now on.
    pub(super) fn end_slots(&mut self) -> Vec<Accepted> {
        self.slots.take().map(SlotShare::end).unwrap_or_default()
    }

    async fn accept_own(&mut self) -> io::Result<Accepted> {
        poll_fn(|cx| {
            let count = self.all.len();
            for index in (self.turn..count).chain(0..self.turn) {
                if let Poll::Ready(accepted) = self.all[index].poll_accept(cx) {
                    self.turn = (index + 1) % count;
                    return Poll::Ready(accepted);
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Takes them off the event loop.
    pub(super) fn into_shares(self) -> impl Iterator<Item = Share> {
        self.all.into_iter().filter_map(|Acceptor { socket, options }| {
            let socket = match socket {
                Socket::Tcp(listener) => ShareSocket::Tcp(listener.into_std().ok()?),
                Socket::Unix(listener) => ShareSocket::Unix(listener.into_std().ok()?),
            };
            Some(Share { socket, options })
        })
    }
}

impl Acceptor {
    fn new(Share { socket, options }: Share) -> io::Result<Self> {
        let socket = match socket {
            ShareSocket::Tcp(listener) => Socket::Tcp(TcpListener::from_std(listener)?),
            ShareSocket::Unix(listener) => Socket::Unix(UnixListener::from_std(listener)?),
        };
        Ok(Self { socket, options })
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        let accepted = match &self.socket {
            Socket::Tcp(listener) => {
                listener.poll_accept(cx).map_ok(|(stream, peer)| AcceptedSocket::Tcp(stream, peer))
            }
            Socket::Unix(listener) => {
                listener.poll_accept(cx).map_ok(|(stream, _)| AcceptedSocket::Unix(stream))
            }
        };
        accepted.map_ok(|socket| (socket, Arc::clone(&self.options)))
    }
}
