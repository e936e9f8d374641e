//! The number of requests that the balancer is working on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Requests that the balancer is working on, from the parsed head to the last byte of
/// the response. Cloning it shares it.
#[derive(Debug, Default, Clone)]
pub struct OpenRequests(Arc<AtomicU64>);

impl OpenRequests {
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    pub(crate) fn enter(&self) -> OpenRequest {
        self.0.fetch_add(1, Ordering::SeqCst);
        OpenRequest(Arc::clone(&self.0))
    }
}

/// Counts as one open request until it is dropped.
#[derive(Debug)]
pub(crate) struct OpenRequest(Arc<AtomicU64>);

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
