//! Takes connections: one thread and one event loop per usable CPU, all
//! accepting from the same socket, each serving what it has accepted.

mod accepted;

use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use pingora::apps::ServerApp;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tracing::warn;

use accepted::Accepted;

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
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    // A restart may take the port while old connections linger in TIME_WAIT (socket(7)).
    sockopt::set_socket_reuseaddr(&socket, true)?;
    // Small answers leave at once. Linux hands this down to accepted connections, which
    // spares each of them a system call.
    sockopt::set_tcp_nodelay(&socket, true)?;
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(StdTcpListener::from(socket))
}

/// What is to be done now and then on every serving thread.
pub trait Upkeep {
    const EVERY: Duration;

    fn tidy(&self);

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
    pub draining: watch::Receiver<bool>,
    /// One permit for each client connection that may be open; further ones wait
    /// in the kernel.
    pub room: Arc<Semaphore>,
}

impl<A> Clone for Serving<A> {
    fn clone(&self) -> Self {
        Self {
            app: Arc::clone(&self.app),
            phase: self.phase.clone(),
            draining: self.draining.clone(),
            room: Arc::clone(&self.room),
        }
    }
}

/// Starts `threads` serving threads on `listener`.
///
/// # Errors
/// When a thread, its event loop or its copy of the socket cannot be made.
pub fn serve<A>(listener: &StdTcpListener, threads: usize, serving: &Serving<A>) -> io::Result<Threads>
where
    A: ServerApp + Upkeep + Send + Sync + 'static,
{
    let mut handles = Vec::with_capacity(threads);
    for index in 0..threads {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _context = runtime.enter();
            TcpListener::from_std(listener.try_clone()?)?
        };
        let serving = serving.clone();
        let body = move || runtime.block_on(accept(listener, serving));
        handles.push(thread::Builder::new().name(format!("serve-{index}")).spawn(body)?);
    }
    Ok(Threads(handles))
}

async fn accept<A>(listener: TcpListener, mut serving: Serving<A>)
where
    A: ServerApp + Upkeep + Send + Sync + 'static,
{
    let mut phase = serving.phase.clone();
    let mut failing = false;
    let mut upkeep = tokio::time::interval(A::EVERY);
    loop {
        tokio::select! {
            accepted = next(&listener, &serving.room) => match accepted {
                Ok((stream, peer, permit)) => {
                    failing = false;
                    serving.spawn(stream, peer, Some(permit));
                }
                Err(err) => {
                    if !failing {
                        warn!(%err, "cannot accept connections");
                    }
                    failing = true;
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            _ = upkeep.tick() => serving.app.tidy(),
            _ = phase.wait_for(|phase| *phase != Phase::Open) => break,
        }
    }
    // Clients whose connection the kernel has completed count as accepted.
    if let Ok(listener) = listener.into_std() {
        while let Ok((stream, peer)) = listener.accept() {
            if stream.set_nonblocking(true).is_ok()
                && let Ok(stream) = TcpStream::from_std(stream)
            {
                serving.spawn(stream, peer, None);
            }
        }
    }
    // Connections live on this event loop: it goes on until the program ends. An
    // error means that the sender is gone, which is the same.
    let _ = serving.phase.wait_for(|phase| *phase == Phase::Ended).await;
    serving.app.end();
}

async fn next(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(room).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, permit))
}

impl<A: ServerApp + Upkeep + Send + Sync + 'static> Serving<A> {
    fn spawn(&self, stream: TcpStream, peer: SocketAddr, permit: Option<OwnedSemaphorePermit>) {
        let (app, draining) = (Arc::clone(&self.app), self.draining.clone());
        tokio::spawn(async move {
            app.process_new(Box::new(Accepted::new(stream, peer)), &draining).await;
            drop(permit);
        });
    }
}
