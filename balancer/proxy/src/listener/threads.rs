//! The serving threads.

use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::sync::Arc;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tracing::warn;

use super::handoff::{AcceptedConnection, ConnectionCount, HandedOver, Handoff};
use super::service::Service;
use super::socket;

/// Pause after a failed accept, which means that file descriptors have run out.
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

/// The serving threads. They end when the phase is [`Phase::Ended`].
pub struct Threads(Vec<thread::JoinHandle<()>>);

impl Threads {
    /// Waits for the threads to end.
    pub fn join(self) {
        for handle in self.0 {
            // A thread's panic has been reported where it happened.
            let _ = handle.join();
        }
    }
}

/// What the serving threads share.
pub struct Serving<A> {
    pub app: Arc<A>,
    pub phase: watch::Receiver<Phase>,
    /// One permit for each client connection that may be open. Further connections wait
    /// in the kernel, but for one in each thread.
    pub permits: Arc<Semaphore>,
}

impl<A> Clone for Serving<A> {
    fn clone(&self) -> Self {
        Self { app: Arc::clone(&self.app), phase: self.phase.clone(), permits: Arc::clone(&self.permits) }
    }
}

/// Starts `threads` serving threads on `listener`.
///
/// # Errors
/// When a thread, its event loop or its socket cannot be made.
pub fn serve<A>(listener: StdTcpListener, threads: usize, serving: &Serving<A>) -> io::Result<Threads>
where
    A: Service,
{
    let mut handles = Vec::with_capacity(threads);
    let listeners = socket::divide(listener, threads)?;
    for (listeners, handoff) in listeners.into_iter().zip(Handoff::new(threads)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listeners = {
            let _context = runtime.enter();
            listeners.into_iter().map(TcpListener::from_std).collect::<io::Result<Vec<_>>>()?
        };
        let (serving, name) = (serving.clone(), format!("serve-{}", handles.len()));
        let body = move || runtime.block_on(serving.run(listeners, handoff));
        handles.push(thread::Builder::new().name(name).spawn(body)?);
    }
    Ok(Threads(handles))
}

impl<A: Service> Serving<A> {
    async fn run(self, listeners: Vec<TcpListener>, mut handoff: Handoff) {
        let mut phase = self.phase.clone();
        let mut is_failing = false;
        // A connection that was accepted while there was no permit for it.
        let mut held = None;
        let mut maintenance = tokio::time::interval(A::MAINTENANCE_INTERVAL);
        loop {
            tokio::select! {
                accepted = next(&listeners, &self.permits, &mut held, is_failing) => match accepted {
                    Ok(connection) => {
                        is_failing = false;
                        if let Some((own, count)) = handoff.assign(connection) {
                            self.spawn(own, count);
                        }
                    }
                    Err(err) => {
                        if !is_failing {
                            warn!(%err, "cannot accept connections");
                        }
                        is_failing = true;
                    }
                },
                Some(connection) = handoff.received.recv() => self.take(connection),
                _ = maintenance.tick() => self.app.maintain(),
                _ = phase.wait_for(|phase| *phase != Phase::Open) => break,
            }
        }
        // A connection that the kernel has completed counts as accepted.
        if let Some((stream, peer)) = held {
            self.spawn(AcceptedConnection { stream, peer, permit: None }, handoff.count_own());
        }
        for listener in listeners.into_iter().filter_map(|listener| listener.into_std().ok()) {
            while let Ok((stream, peer)) = listener.accept() {
                if stream.set_nonblocking(true).is_ok()
                    && let Ok(stream) = TcpStream::from_std(stream)
                {
                    self.spawn(AcceptedConnection { stream, peer, permit: None }, handoff.count_own());
                }
            }
        }
        self.app.drain();
        // Connections live on this event loop: it goes on until the program ends. An
        // error means that the sender is gone, which is the same.
        loop {
            tokio::select! {
                Some(connection) = handoff.received.recv() => self.take(connection),
                _ = maintenance.tick() => self.app.maintain(),
                _ = phase.wait_for(|phase| *phase == Phase::Ended) => break,
            }
        }
        self.app.end();
    }

    /// Serves what another thread has accepted.
    fn take(&self, connection: HandedOver) {
        match connection.accept() {
            Ok((connection, count)) => self.spawn(connection, count),
            Err(err) => warn!(%err, "cannot serve a connection"),
        }
    }

    fn spawn(&self, connection: AcceptedConnection, count: ConnectionCount) {
        let AcceptedConnection { stream, peer, permit } = connection;
        let app = Arc::clone(&self.app);
        tokio::spawn(async move {
            app.serve(stream, peer).await;
            drop((permit, count));
        });
    }
}

/// The next connection, once there is a permit for it. An accepted connection is `held`
/// until then: a permit that is taken first, by a thread to which no connection comes,
/// would be lost to the others. Pauses first when the last accept failed.
async fn next(
    listeners: &[TcpListener],
    permits: &Arc<Semaphore>,
    held: &mut Option<(TcpStream, SocketAddr)>,
    is_failing: bool,
) -> io::Result<AcceptedConnection> {
    if held.is_none() {
        if is_failing {
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
        let accepted = poll_fn(|cx| {
            let mut accepted = listeners.iter().map(|listener| listener.poll_accept(cx));
            accepted.find(Poll::is_ready).unwrap_or(Poll::Pending)
        });
        *held = Some(accepted.await?);
    }
    let permit = Arc::clone(permits).acquire_owned().await.map_err(io::Error::other)?;
    let connection =
        held.take().map(|(stream, peer)| AcceptedConnection { stream, peer, permit: Some(permit) });
    connection.ok_or_else(|| io::ErrorKind::NotConnected.into())
}
