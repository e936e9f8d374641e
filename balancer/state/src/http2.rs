//! HTTP/2 connections that the balancer ends because of what their clients do.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why an HTTP/2 connection was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Http2Ending {
    /// The client sent frames that are no HTTP/2.
    ProtocolError,
    /// The client sent too many frames that carry nothing, or too much of a head.
    Flood,
    /// The client gave up too many requests.
    Resets,
    /// The client did not read what it was sent.
    Stalled,
}

impl Http2Ending {
    pub const ALL: [Self; 4] = [Self::ProtocolError, Self::Flood, Self::Resets, Self::Stalled];

    /// Its name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ProtocolError => "protocol-error",
            Self::Flood => "flood",
            Self::Resets => "resets",
            Self::Stalled => "stalled",
        }
    }
}

/// HTTP/2 connections that were ended, by reason.
#[derive(Debug, Default)]
pub struct Http2Endings([AtomicU64; Http2Ending::ALL.len()]);

impl Http2Endings {
    pub fn add(&self, ending: Http2Ending) {
        self.0[ending as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub fn count(&self, ending: Http2Ending) -> u64 {
        self.0[ending as usize].load(Ordering::Relaxed)
    }
}
