//! The serving threads.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tracing::warn;

use super::accepted::Accepted;
use super::acceptor::{Acceptors, Share};
use super::handoff::{AcceptedConnection, ConnectionCount, HandedOver, Handoff};
use super::service::Service;
use super::slots::{SlotShare, Slots};
use super::socket::{self, Listener};

/// Pause after a failed accept, which means that file descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How far the shutdown has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Accept nothing yet: another program still does, from the same sockets.
    Pending,
    Open,
    /// Accept what the kernel already has, and then nothing more.
    Closing,
    /// Accept nothing more but what has come and there are permits for: somebody else has
    /// the sockets as well, and serves what comes later.
    Leaving,
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
    /// Where workers accept clients' connections themselves.
    pub slots: Option<Slots>,
}

impl<A> Clone for Serving<A> {
    fn clone(&self) -> Self {
        Self {
            app: Arc::clone(&self.app),
            phase: self.phase.clone(),
            permits: Arc::clone(&self.permits),
            slots: self.slots.clone(),
        }
    }
}

/// Starts `threads` serving threads on all of `listeners`. Also returns every listening
/// socket, for a program that is to succeed this one; while they are open, the kernel goes on
/// taking connections, whether or not somebody accepts them.
///
/// # Errors
/// When a thread, its event loop or its socket cannot be made.
pub fn serve<A>(
    listeners: Vec<Listener>,
    threads: usize,
    serving: &Serving<A>,
) -> io::Result<(Threads, Vec<OwnedFd>)>
where
    A: Service,
{
    let mut handles = Vec::with_capacity(threads);
    let listeners = socket::divide(listeners, threads)?;
    let sockets = socket::distinct(&listeners)?;
    for (index, (listeners, handoff)) in listeners.into_iter().zip(Handoff::new(threads)).enumerate() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listeners = {
            let _context = runtime.enter();
            let slots = serving.slots.as_ref().map(|slots| SlotShare::new(slots, index, threads));
            Acceptors::new(listeners, slots)?
        };
        let (serving, name) = (serving.clone(), format!("serve-{}", handles.len()));
        let body = move || runtime.block_on(serving.run(listeners, handoff));
        handles.push(thread::Builder::new().name(name).spawn(body)?);
    }
    Ok((Threads(handles), sockets))
}

impl<A: Service> Serving<A> {
    async fn run(self, mut listeners: Acceptors, mut handoff: Handoff) {
        let mut phase = self.phase.clone();
        let mut is_failing = false;
        // A connection that was accepted while there was no permit for it.
        let mut held = None;
        let mut maintenance = tokio::time::interval(A::MAINTENANCE_INTERVAL);
        // An error means that the program ends.
        let has_opened =
            phase.wait_for(|phase| *phase != Phase::Pending).await.is_ok_and(|phase| *phase == Phase::Open);
        let mut changes = self.app.changes();
        loop {
            if !has_opened {
                break;
            }
            tokio::select! {
                accepted = next(&mut listeners, &self.permits, &mut held, is_failing) => match accepted {
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
                Ok(()) = changes.changed() => self.app.maintain(),
                _ = phase.wait_for(|phase| *phase != Phase::Open) => break,
            }
        }
        // A connection that the kernel has completed counts as accepted.
        if let Some((socket, options)) = held {
            self.spawn(AcceptedConnection { socket, options, permit: None }, handoff.count_own());
        }
        let leaves = *phase.borrow() != Phase::Closing;
        for (socket, options) in listeners.end_slots() {
            self.spawn(AcceptedConnection { socket, options, permit: None }, handoff.count_own());
        }
        // What waits while nothing has ever been accepted here is the predecessor's.
        for share in listeners.into_shares().filter(|_| has_opened) {
            self.accept_waiting(&share, leaves, &handoff);
        }
        self.app.drain();
        // Connections live on this event loop: it goes on until the program ends. An
        // error means that the sender is gone, which is the same.
        loop {
            tokio::select! {
                Some(connection) = handoff.received.recv() => self.take(connection),
                _ = maintenance.tick() => self.app.maintain(),
                Ok(()) = changes.changed() => self.app.maintain(),
                _ = phase.wait_for(|phase| *phase == Phase::Ended) => break,
            }
        }
        self.app.end();
    }

    /// Serves what has come before the listener closes. This one may be a while before the
    /// next one comes, so what waits here is better off now; but what there are no permits
    /// for is left to the next one if there is to be one, and would be lost otherwise.
    fn accept_waiting(&self, share: &Share, leaves: bool, handoff: &Handoff) {
        loop {
            let permit = leaves.then(|| Arc::clone(&self.permits).try_acquire_owned()).transpose();
            let Ok(permit) = permit else { return };
            let Some((socket, options)) = share.accept() else { return };
            self.spawn(AcceptedConnection { socket, options, permit }, handoff.count_own());
        }
    }

    /// Serves what another thread has accepted.
    fn take(&self, connection: HandedOver) {
        match connection.accept() {
            Ok((connection, count)) => self.spawn(connection, count),
            Err(err) => warn!(%err, "cannot serve a connection"),
        }
    }

    fn spawn(&self, connection: AcceptedConnection, count: ConnectionCount) {
        let AcceptedConnection { socket, options, permit } = connection;
        let app = Arc::clone(&self.app);
        tokio::spawn(async move {
            app.serve(socket, &options).await;
            drop((permit, count));
        });
    }
}

/// The next connection, once there is a permit for it. An accepted connection is `held`
/// until then: a permit that is taken first, by a thread to which no connection comes,
/// would be lost to the others. Pauses first when the last accept failed.
async fn next(
    listeners: &mut Acceptors,
    permits: &Arc<Semaphore>,
    held: &mut Option<Accepted>,
    is_failing: bool,
) -> io::Result<AcceptedConnection> {
    if held.is_none() {
        if is_failing {
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
        *held = Some(listeners.accept().await?);
    }
    let permit = Arc::clone(permits).acquire_owned().await.map_err(io::Error::other)?;
    let connection =
        held.take().map(|(socket, options)| AcceptedConnection { socket, options, permit: Some(permit) });
    connection.ok_or_else(|| io::ErrorKind::NotConnected.into())
}
