//! A bound on the retries of all requests: when most attempts fail, repeating each of
//! them only adds load to a cluster that is going down.

use std::sync::atomic::{AtomicI64, Ordering};

/// The cost of one retry, in the unit that is counted.
const RETRY: i64 = 5;
/// The deposit of one request: one retry for every five requests.
const DEPOSIT: i64 = 1;
/// The most that is kept: enough for a worker that dies with hundreds of requests in
/// flight.
const RESERVE: i64 = 1_000 * RETRY;

#[derive(Debug)]
pub(crate) struct RetryBudget(AtomicI64);

impl Default for RetryBudget {
    fn default() -> Self {
        Self(AtomicI64::new(RESERVE))
    }
}

impl RetryBudget {
    /// Pays for one request. Writes nothing while the budget is full, which is nearly
    /// always, so threads do not contend for its cache line.
    #[inline]
    pub(crate) fn deposit(&self) {
        if self.0.load(Ordering::Relaxed) < RESERVE {
            self.0.fetch_add(DEPOSIT, Ordering::Relaxed);
        }
    }

    /// Takes the cost of one retry, if the budget has it; says whether it had.
    pub(crate) fn withdraw(&self) -> bool {
        let taken = self.0.fetch_sub(RETRY, Ordering::Relaxed) >= RETRY;
        if !taken {
            self.0.fetch_add(RETRY, Ordering::Relaxed);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_end_with_the_reserve_and_come_back_with_requests() {
        let budget = RetryBudget::default();
        assert_eq!((0..2_000).filter(|_| budget.withdraw()).count(), 1_000);
        (0..4).for_each(|_| budget.deposit());
        assert!(!budget.withdraw());
        budget.deposit();
        assert!(budget.withdraw());
        assert!(!budget.withdraw());
    }

    #[test]
    fn it_is_never_more_than_the_reserve() {
        let budget = RetryBudget::default();
        (0..100).for_each(|_| budget.deposit());
        assert_eq!((0..2_000).filter(|_| budget.withdraw()).count(), 1_000);
    }
}
