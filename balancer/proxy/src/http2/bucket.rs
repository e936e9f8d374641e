//! How much of something a client may do: so much at once, and so much more each second.

use tokio::time::Instant;

/// A token bucket.
#[derive(Debug)]
pub(super) struct Bucket {
    capacity: u64,
    per_second: u64,
    tokens: u64,
    /// Up to when it has been filled.
    filled: Instant,
}

impl Bucket {
    /// A full one.
    pub(super) fn new(capacity: u64, per_second: u64, now: Instant) -> Self {
        Self { capacity, per_second, tokens: capacity, filled: now }
    }

    /// Adds tokens beside those that time adds.
    pub(super) fn add(&mut self, tokens: u64) {
        self.tokens = self.tokens.saturating_add(tokens).min(self.capacity);
    }

    /// Takes `tokens` out. Says whether there were as many.
    pub(super) fn take(&mut self, tokens: u64, now: Instant) -> bool {
        if self.tokens < tokens {
            self.fill(now);
        }
        let left = self.tokens.checked_sub(tokens);
        self.tokens = left.unwrap_or(0);
        left.is_some()
    }

    fn fill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.filled);
        let tokens = elapsed.as_millis().saturating_mul(u128::from(self.per_second)) / 1000;
        if tokens > 0 {
            self.add(u64::try_from(tokens).unwrap_or(u64::MAX));
            self.filled = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn so_much_at_once_and_so_much_each_second() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut bucket = Bucket::new(10, 2, start);
        assert!(bucket.take(10, at(0)) && !bucket.take(1, at(499)));
        assert!(bucket.take(1, at(500)) && !bucket.take(1, at(999)) && bucket.take(1, at(1000)));
        bucket.add(3);
        assert!(bucket.take(3, at(1000)) && !bucket.take(1, at(1000)));
        assert!(bucket.take(10, at(60_000)), "it is filled to its capacity");
        assert!(!bucket.take(1, at(60_000)), "and no further");
    }
}
