//! Selection strategies: which worker is asked first, and which next.

/// Round-robin: every worker once, beginning with the one whose turn it is.
///
/// Yields indices below `ready`; nothing when there is no ready worker.
pub fn round_robin(ready: usize, turn: usize) -> impl Iterator<Item = usize> {
    let first = turn.checked_rem(ready).unwrap_or(0);
    (0..ready).map(move |step| (first + step) % ready)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(ready: usize, turn: usize) -> Vec<usize> {
        round_robin(ready, turn).collect()
    }

    #[test]
    fn begins_with_the_worker_in_turn_and_visits_each_once() {
        assert_eq!(order(4, 0), [0, 1, 2, 3]);
        assert_eq!(order(4, 6), [2, 3, 0, 1]);
        assert_eq!(order(1, 7), [0]);
    }

    #[test]
    fn yields_nothing_for_an_empty_pool() {
        assert_eq!(order(0, 3), [0; 0]);
    }

    #[test]
    fn survives_the_counter_wrapping() {
        assert_eq!(order(3, usize::MAX).len(), 3);
    }
}
