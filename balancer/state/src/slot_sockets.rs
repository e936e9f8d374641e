//! The listening sockets of slots, where workers accept clients' connections themselves.
//!
//! Each slot has one at the address of the cluster, between which the kernel divides new
//! connections (socket(7), SO_REUSEPORT). It stays the slot's for its whole life: processes
//! inherit it, and what waits in its queue waits for whoever accepts next, a successor or the
//! primary. The supervisor opens and leaves sockets; the listener accepts from those whose
//! slot has no ready worker.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use balancer_pool::Pool;
use shared_process::handshakes;
use shared_protocol::WorkerId;
use tokio::sync::watch;

/// For handshakes that have begun to be completed, before the socket of a slot that is no more
/// is closed. Those that take longer are reset.
const HANDSHAKES: Duration = Duration::from_millis(500);

type Open = Box<dyn Fn() -> io::Result<TcpListener> + Send + Sync>;

/// The sockets of all slots.
pub struct SlotSockets {
    open: Open,
    slots: Mutex<BTreeMap<WorkerId, Slot>>,
    has_ended: AtomicBool,
    changes: watch::Sender<u64>,
}

struct Slot {
    socket: Arc<TcpListener>,
    /// No process of the slot is left; counts how often that has been so.
    left: Option<u64>,
}

/// A socket from which the primary accepts.
#[derive(Debug, Clone)]
pub struct RelayedSlot {
    pub id: WorkerId,
    pub socket: Arc<TcpListener>,
}

impl SlotSockets {
    /// `first` is the first slot's; `open` opens another one at the same address.
    pub fn new(
        first: TcpListener,
        open: impl Fn() -> io::Result<TcpListener> + Send + Sync + 'static,
    ) -> Self {
        let slot = Slot { socket: Arc::new(first), left: None };
        Self {
            open: Box::new(open),
            slots: Mutex::new(BTreeMap::from([(WorkerId(1), slot)])),
            has_ended: AtomicBool::new(false),
            changes: watch::Sender::new(0),
        }
    }

    /// Supervisor only: the socket of slot `id`, for a process to inherit.
    ///
    /// # Errors
    /// When there are no descriptors left, or the address is no more this machine's.
    pub fn of(&self, id: WorkerId) -> io::Result<TcpListener> {
        let mut slots = self.lock();
        if self.has_ended.load(Ordering::Relaxed) {
            return Err(io::Error::other("the cluster ends, and accepts no connections any more"));
        }
        let slot = match slots.get_mut(&id) {
            Some(slot) => slot,
            None => {
                let socket = Arc::new((self.open)()?);
                slots.entry(id).or_insert(Slot { socket, left: None })
            }
        };
        if slot.left.take().is_some() {
            handshakes::release(&slot.socket)?;
        }
        // A program before may have changed that for all who have the socket (fcntl(2)).
        slot.socket.set_nonblocking(true)?;
        let socket = slot.socket.try_clone()?;
        drop(slots);
        self.changes.send_modify(|version| *version += 1);
        Ok(socket)
    }

    /// Supervisor only: there are processes of these slots. The sockets of others begin no
    /// handshake any more, and are closed once those that have begun are over.
    pub fn retain(self: &Arc<Self>, is_there: impl Fn(WorkerId) -> bool) {
        let mut slots = self.lock();
        for (&id, slot) in slots.iter_mut().filter(|(_, slot)| slot.left.is_none()) {
            if is_there(id) {
                continue;
            }
            let version = *self.changes.borrow();
            slot.left = Some(version);
            // Without it a few connections may be reset.
            let _ = handshakes::hold(&slot.socket);
            let sockets = Arc::clone(self);
            tokio::spawn(async move {
                tokio::time::sleep(HANDSHAKES).await;
                sockets.close(id, version);
            });
        }
    }

    fn close(&self, id: WorkerId, version: u64) {
        let mut slots = self.lock();
        if slots.get(&id).is_some_and(|slot| slot.left == Some(version)) {
            slots.remove(&id);
            drop(slots);
            self.changes.send_modify(|version| *version += 1);
        }
    }

    /// Those from which nobody else accepts, as no worker of their slot is ready.
    pub fn relayed(&self, pool: &Pool) -> Vec<RelayedSlot> {
        let slots = self.lock();
        let relayed = slots.iter().filter(|(id, slot)| slot.left.is_some() || !pool.has_ready(**id));
        relayed.map(|(&id, slot)| RelayedSlot { id, socket: Arc::clone(&slot.socket) }).collect()
    }

    /// No slot begins handshakes any more: the cluster ends.
    pub fn end(&self) -> Vec<RelayedSlot> {
        let mut slots = self.lock();
        self.has_ended.store(true, Ordering::Relaxed);
        let slots = std::mem::take(&mut *slots);
        let all = slots.into_iter().map(|(id, Slot { socket, .. })| RelayedSlot { id, socket });
        let all: Vec<_> = all.collect();
        for slot in &all {
            // Without it a few connections may be reset.
            let _ = handshakes::hold(&slot.socket);
        }
        all
    }

    /// Changes when a slot has got a socket or lost it.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<WorkerId, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for SlotSockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlotSockets").finish_non_exhaustive()
    }
}
