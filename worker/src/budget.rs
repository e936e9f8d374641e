//! How many bytes of large bodies a process holds at once.
//!
//! Thousands of clients that each send most of a large body, slowly, would fill
//! the memory. Small bodies are not counted, so that those clients only keep
//! other large bodies out.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Bodies up to this size are always let in.
const SMALL_BYTES: usize = 16 * 1024;
/// For all others together.
const TOTAL_BYTES: usize = 256 << 20;

pub(crate) struct Budget {
    used: AtomicUsize,
    total: usize,
}

impl Budget {
    /// Has place for several bodies of the largest size in any case.
    pub(crate) fn new(max_body: usize) -> Self {
        Self { used: AtomicUsize::new(0), total: TOTAL_BYTES.max(max_body.saturating_mul(4)) }
    }

    pub(crate) fn share(&self) -> Share<'_> {
        Share { budget: self, bytes: 0 }
    }
}

/// One body's part; given back on drop.
pub(crate) struct Share<'a> {
    budget: &'a Budget,
    bytes: usize,
}

impl Share<'_> {
    /// Takes what a body of `size` bytes needs; false when there is not enough.
    pub(crate) fn grow_to(&mut self, size: usize) -> bool {
        if size <= SMALL_BYTES || size <= self.bytes {
            return true;
        }
        let more = size - self.bytes;
        let fits = |used: usize| used.checked_add(more).filter(|&sum| sum <= self.budget.total);
        let taken = self.budget.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok();
        if taken {
            self.bytes = size;
        }
        taken
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_bodies_compete_and_small_ones_do_not() {
        let budget = Budget { used: AtomicUsize::new(0), total: 100_000 };
        let mut one = budget.share();
        assert!(one.grow_to(40_000) && one.grow_to(80_000));
        let mut other = budget.share();
        assert!(other.grow_to(SMALL_BYTES));
        assert!(!other.grow_to(30_000));
        drop(one);
        assert!(other.grow_to(100_000));
        drop(other);
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }
}
