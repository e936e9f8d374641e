//! How it goes with certificates by ACME.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

/// Counts, and the next date.
#[derive(Debug, Default)]
pub struct Acme {
    issued: AtomicU64,
    failed: AtomicU64,
    /// In seconds since 1970-01-01 UTC; 0 before it is known.
    next: AtomicU64,
}

impl Acme {
    pub fn add_issued(&self) {
        self.issued.fetch_add(1, Ordering::Relaxed);
    }

    pub fn add_failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    pub fn set_next(&self, at: SystemTime) {
        let seconds = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        self.next.store(seconds, Ordering::Relaxed);
    }

    /// Certificates that were issued.
    pub fn issued(&self) -> u64 {
        self.issued.load(Ordering::Relaxed)
    }

    /// Attempts that have failed.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// When the next certificate is ordered, in seconds since 1970-01-01 UTC.
    pub fn next(&self) -> Option<u64> {
        Some(self.next.load(Ordering::Relaxed)).filter(|&next| next != 0)
    }
}
