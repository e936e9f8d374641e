//! What the balancer is working on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Requests that the balancer is working on, from the parsed head to the last byte of
/// the response. Cloning it shares it.
#[derive(Debug, Default, Clone)]
pub struct OpenRequests(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    all: AtomicU64,
    long_lived: AtomicU64,
}

impl OpenRequests {
    /// Requests that have an end of their own.
    pub fn count(&self) -> u64 {
        self.0.all.load(Ordering::SeqCst).saturating_sub(self.long_lived())
    }

    /// Those that have none: upgraded connections and event streams.
    pub fn long_lived(&self) -> u64 {
        self.0.long_lived.load(Ordering::SeqCst)
    }

    pub(crate) fn enter(&self) -> OpenRequest {
        self.0.all.fetch_add(1, Ordering::SeqCst);
        OpenRequest { counts: Arc::clone(&self.0), is_long_lived: false }
    }
}

/// Counts as one open request until it is dropped.
#[derive(Debug)]
pub(crate) struct OpenRequest {
    counts: Arc<Counts>,
    is_long_lived: bool,
}

impl OpenRequest {
    /// It has no end of its own from now on.
    pub(crate) fn become_long_lived(&mut self) {
        if !self.is_long_lived {
            self.is_long_lived = true;
            self.counts.long_lived.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.counts.all.fetch_sub(1, Ordering::SeqCst);
        if self.is_long_lived {
            self.counts.long_lived.fetch_sub(1, Ordering::SeqCst);
        }
    }
}
