//! Maintenance: workers live and are probed, and clients are told to come back.

use std::sync::atomic::{AtomicU32, Ordering};

/// Whether there is maintenance. Read for each request, and set by the control socket.
#[derive(Debug, Default)]
pub struct Maintenance {
    /// Seconds after which clients may try again, at least one; 0 while there is none.
    retry_after: AtomicU32,
}

impl Maintenance {
    /// From now on clients are told to come back after `retry_after` seconds, at least one.
    pub fn begin(&self, retry_after: u32) {
        self.retry_after.store(retry_after.max(1), Ordering::Relaxed);
    }

    pub fn end(&self) {
        self.retry_after.store(0, Ordering::Relaxed);
    }

    /// Seconds after which clients may try again; `None` while there is no maintenance.
    #[inline]
    pub fn retry_after(&self) -> Option<u32> {
        match self.retry_after.load(Ordering::Relaxed) {
            0 => None,
            seconds => Some(seconds),
        }
    }
}
