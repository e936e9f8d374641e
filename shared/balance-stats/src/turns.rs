//! Strict round-robin: each worker has ⌊N/W⌋ or ⌈N/W⌉ of N requests.

use std::ops::RangeInclusive;

/// The requests that a worker may have, when `total` requests went to `workers`
/// workers in turn.
pub fn share(total: u64, workers: usize) -> RangeInclusive<u64> {
    let workers = workers.max(1) as u64;
    total / workers..=total.div_ceil(workers)
}

/// The number of requests outside the shares that turns would have given: what is
/// missing at one worker and what is too much at another count separately.
pub fn misplaced(counts: &[u64]) -> u64 {
    let share = share(counts.iter().sum(), counts.len());
    counts.iter().map(|&count| share.start().saturating_sub(count) + count.saturating_sub(*share.end())).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_strict() {
        assert_eq!(misplaced(&[25, 25, 26, 25]), 0);
        assert_eq!(misplaced(&[25, 25, 25, 25]), 0);
        assert_eq!(misplaced(&[24, 27, 25, 25]), 2);
        assert_eq!(misplaced(&[26, 24, 25, 25]), 2);
        assert_eq!(misplaced(&[101, 0, 0, 0]), 75 + 75);
        assert_eq!(misplaced(&[]), 0);
        assert_eq!(share(101, 4), 25..=26);
    }
}
