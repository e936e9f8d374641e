//! Takes connections: one thread and one event loop per usable CPU, each serving
//! what it has accepted from a socket of its own, between which the kernel divides
//! new connections (socket(7), SO_REUSEPORT). Were all to accept from the same one,
//! each connection would wake them all.

mod accepted;
mod handoff;

use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use pingora::protocols::Stream;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, sockopt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tracing::warn;

use accepted::Accepted;
use handoff::{Arrival, Handed, Lanes, Place};

/// Connections that the kernel may hold for us to accept.
const BACKLOG: i32 = 4096;
/// Wait after a failed accept, which means that descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How far the shutdown has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Open,
    /// Accept what the kernel already has, and then nothing more.
    Closing,
    /// The program ends.
    Ended,
}

/// Binds `address`. Port 0 takes a free one.
///
/// # Errors
/// When the address is in use or not this machine's.
pub fn bind(address: SocketAddr) -> io::Result<StdTcpListener> {
    open(address, false).map(StdTcpListener::from)
}

fn open(address: SocketAddr, shared: bool) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    // A restart may take the port while old connections linger in TIME_WAIT (socket(7)).
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, shared)?;
    // Small answers leave at once. Linux hands this down to accepted connections, which
    // spares each of them a system call.
    sockopt::set_tcp_nodelay(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// Listeners for so many threads where `first` listens, which keeps what has come
/// already. Whoever wants the port for itself, as another cluster does, finds it
/// in use; only a program of the same user that asks to share it could.
fn divide(first: StdTcpListener, threads: usize) -> io::Result<Vec<Vec<StdTcpListener>>> {
    let address = first.local_addr()?;
    let mut divided = vec![vec![]];
    if threads > 1 {
        sockopt::set_socket_reuseport(&first, true)?;
        let own = (0..threads).map(|_| Ok(vec![StdTcpListener::from(open(address, true)?)]));
        divided = own.collect::<io::Result<_>>()?;
    }
    divided[0].push(first);
    Ok(divided)
}

/// What serves the connections of a thread.
pub trait Service: Send + Sync + 'static {
    /// Time between two calls of [`Self::maintain`].
    const MAINTENANCE_INTERVAL: Duration;

    /// Serves one connection until it ends.
    fn serve(&self, io: Stream) -> impl Future<Output = ()> + Send;

    /// Runs now and then on every serving thread.
    fn maintain(&self);

    /// The last thing that happens on the thread's event loop.
    fn end(&self);
}

/// Serving threads; they end when the phase is [`Phase::Ended`].
pub struct Threads(Vec<thread::JoinHandle<()>>);

impl Threads {
    /// Waits for the threads to end.
    pub fn join(self) {
        for handle in self.0 {
            // A panic of a thread has been reported where it happened.
            let _ = handle.join();
        }
    }
}

/// What the serving threads share.
pub struct Serving<A> {
    pub app: Arc<A>,
    pub phase: watch::Receiver<Phase>,
    /// One permit for each client connection that may be open; further ones wait
    /// in the kernel, but for one in each thread.
    pub room: Arc<Semaphore>,
}

impl<A> Clone for Serving<A> {
    fn clone(&self) -> Self {
        Self { app: Arc::clone(&self.app), phase: self.phase.clone(), room: Arc::clone(&self.room) }
    }
}

/// Starts `threads` serving threads on `listener`.
///
/// # Errors
/// When a thread, its event loop or its copy of the socket cannot be made.
pub fn serve<A>(listener: StdTcpListener, threads: usize, serving: &Serving<A>) -> io::Result<Threads>
where
    A: Service,
{
    let mut handles = Vec::with_capacity(threads);
    for (listeners, lanes) in divide(listener, threads)?.into_iter().zip(Lanes::new(threads)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listeners = {
            let _context = runtime.enter();
            listeners.into_iter().map(TcpListener::from_std).collect::<io::Result<Vec<_>>>()?
        };
        let (serving, name) = (serving.clone(), format!("serve-{}", handles.len()));
        let body = move || runtime.block_on(serving.run(listeners, lanes));
        handles.push(thread::Builder::new().name(name).spawn(body)?);
    }
    Ok(Threads(handles))
}

impl<A: Service> Serving<A> {
    async fn run(self, listeners: Vec<TcpListener>, mut lanes: Lanes) {
        let mut phase = self.phase.clone();
        let mut failing = false;
        // A connection that has been accepted while there was no room for it.
        let mut held = None;
        let mut upkeep = tokio::time::interval(A::MAINTENANCE_INTERVAL);
        loop {
            tokio::select! {
                accepted = next(&listeners, &self.room, &mut held) => match accepted {
                    Ok(arrival) => {
                        failing = false;
                        if let Some((own, place)) = lanes.assign(arrival) {
                            self.spawn(own, place);
                        }
                    }
                    Err(err) => {
                        if !failing {
                            warn!(%err, "cannot accept connections");
                        }
                        failing = true;
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(handed) = lanes.handed.recv() => self.take(handed),
                _ = upkeep.tick() => self.app.maintain(),
                _ = phase.wait_for(|phase| *phase != Phase::Open) => break,
            }
        }
        // Clients whose connection the kernel has completed count as accepted.
        if let Some((stream, peer)) = held {
            self.spawn(Arrival { stream, peer, permit: None }, lanes.stay());
        }
        for listener in listeners.into_iter().filter_map(|listener| listener.into_std().ok()) {
            while let Ok((stream, peer)) = listener.accept() {
                if stream.set_nonblocking(true).is_ok()
                    && let Ok(stream) = TcpStream::from_std(stream)
                {
                    self.spawn(Arrival { stream, peer, permit: None }, lanes.stay());
                }
            }
        }
        // Connections live on this event loop: it goes on until the program ends. An
        // error means that the sender is gone, which is the same.
        loop {
            tokio::select! {
                Some(handed) = lanes.handed.recv() => self.take(handed),
                _ = phase.wait_for(|phase| *phase == Phase::Ended) => break,
            }
        }
        self.app.end();
    }

    /// Serves what another thread has accepted.
    fn take(&self, handed: Handed) {
        match handed.arrival() {
            Ok((arrival, place)) => self.spawn(arrival, place),
            Err(err) => warn!(%err, "cannot serve a connection"),
        }
    }

    fn spawn(&self, Arrival { stream, peer, permit }: Arrival, place: Place) {
        let app = Arc::clone(&self.app);
        tokio::spawn(async move {
            app.serve(Box::new(Accepted::new(stream, peer))).await;
            drop((permit, place));
        });
    }
}

/// The next connection, once there is room for it. What has been accepted is `held`
/// until then: room taken first, by a thread to which nobody comes, would be lost to
/// the others.
async fn next(
    listeners: &[TcpListener],
    room: &Arc<Semaphore>,
    held: &mut Option<(TcpStream, SocketAddr)>,
) -> io::Result<Arrival> {
    if held.is_none() {
        let accepted = poll_fn(|cx| {
            let mut accepted = listeners.iter().map(|listener| listener.poll_accept(cx));
            accepted.find(Poll::is_ready).unwrap_or(Poll::Pending)
        });
        *held = Some(accepted.await?);
    }
    let permit = Arc::clone(room).acquire_owned().await.map_err(io::Error::other)?;
    let arrival = held.take().map(|(stream, peer)| Arrival { stream, peer, permit: Some(permit) });
    arrival.ok_or_else(|| io::ErrorKind::NotConnected.into())
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream as StdTcpStream;

    use rustix::io::Errno;

    use super::*;

    #[test]
    fn what_came_before_the_division_is_kept_and_the_port_stays_in_use() {
        let first = bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = first.local_addr().unwrap();
        let early = StdTcpStream::connect(address).unwrap();
        let divided = divide(first, 3).unwrap();
        let later: Vec<_> = (0..20).map(|_| StdTcpStream::connect(address).unwrap()).collect();
        let mut accepted = vec![];
        for listener in divided.iter().flatten() {
            accepted.extend(std::iter::from_fn(|| listener.accept().ok()).map(|(_, peer)| peer));
        }
        let mut clients: Vec<_> =
            later.iter().chain([&early]).map(|client| client.local_addr().unwrap()).collect();
        clients.sort();
        accepted.sort();
        assert_eq!(accepted, clients);
        let refused = bind(address).unwrap_err();
        assert_eq!(Errno::from_io_error(&refused), Some(Errno::ADDRINUSE), "as for another cluster");
    }
}
