//! What the tasks of one HTTP/2 connection share. All of them run on one thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

#[derive(Debug, Default)]
pub(super) struct ConnectionState {
    /// Requests that are being carried out.
    active: AtomicU64,
    /// Requests that the client has given up, or made to fail by its frames, since this
    /// was taken last.
    resets: AtomicU64,
    /// The number of active requests has changed.
    pub(super) changed: Notify,
    /// Too many frames came that carry nothing.
    flooded: AtomicBool,
    /// The client does not read what it is sent.
    blocked: AtomicBool,
    /// What is written waits until nothing else is to be done at the moment.
    gathering: AtomicBool,
    /// Something waits to be written.
    gathered: AtomicBool,
    /// The sending side has ended.
    shut: AtomicBool,
    /// Bytes that the client has been sent.
    written: AtomicU64,
}

impl ConnectionState {
    pub(super) fn active(&self) -> u64 {
        self.active.load(Ordering::Relaxed)
    }

    pub(super) fn take_resets(&self) -> u64 {
        self.resets.swap(0, Ordering::Relaxed)
    }

    pub(super) fn is_flooded(&self) -> bool {
        self.flooded.load(Ordering::Relaxed)
    }

    pub(super) fn set_flooded(&self) {
        self.flooded.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }

    pub(super) fn is_gathering(&self) -> bool {
        self.gathering.load(Ordering::Relaxed)
    }

    pub(super) fn set_gathering(&self, gathering: bool) {
        self.gathering.store(gathering, Ordering::Relaxed);
    }

    pub(super) fn has_gathered(&self) -> bool {
        self.gathered.load(Ordering::Relaxed)
    }

    pub(super) fn set_gathered(&self, gathered: bool) {
        self.gathered.store(gathered, Ordering::Relaxed);
    }

    pub(super) fn is_shut(&self) -> bool {
        self.shut.load(Ordering::Relaxed)
    }

    pub(super) fn set_shut(&self) {
        self.shut.store(true, Ordering::Relaxed);
    }

    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// The client has taken `count` bytes; `None` when it takes nothing.
    pub(super) fn note_written(&self, count: Option<u64>) {
        self.blocked.store(count.is_none(), Ordering::Relaxed);
        self.written.fetch_add(count.unwrap_or(0), Ordering::Relaxed);
    }
}

/// Counts as one active request until it is dropped.
#[derive(Debug)]
pub(super) struct ActiveRequest(Arc<ConnectionState>);

impl ActiveRequest {
    pub(super) fn begin(state: &Arc<ConnectionState>) -> Self {
        state.active.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(state))
    }

    /// The client has given up the request, or made it fail.
    pub(super) fn note_reset(&self) {
        self.0.resets.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        let was_last = self.0.active.fetch_sub(1, Ordering::Relaxed) == 1;
        if was_last || self.0.resets.load(Ordering::Relaxed) > 0 {
            self.0.changed.notify_one();
        }
    }
}
