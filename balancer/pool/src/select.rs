//! Selection strategies: which worker a request tries first, and which next.
//! Plain functions from numbers to indices: no lock, no allocation, no clock.

/// How a worker is chosen for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    /// Each worker in turn, exactly.
    #[default]
    RoundRobin,
    /// The worker with the fewest requests in flight.
    LeastConnections,
    /// The less loaded of two workers that are drawn at random (M. Mitzenmacher, "The
    /// Power of Two Choices in Randomized Load Balancing", 1996).
    PowerOfTwo,
    /// The worker that served this client before, as its cookie says; otherwise each
    /// in turn.
    Sticky,
    /// The first worker in the order of the request's key that may be picked
    /// ([`HashKey`](crate::HashKey)).
    Hash,
}

impl Strategy {
    /// Its name, as it is set.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round-robin",
            Self::LeastConnections => "least-connections",
            Self::PowerOfTwo => "power-of-two",
            Self::Sticky => "sticky",
            Self::Hash => "hash",
        }
    }
}

/// Every worker once, beginning with the one whose turn it is.
///
/// Yields indices below `ready`; nothing when there is no ready worker.
#[inline]
pub(crate) fn round_robin(ready: usize, turn: usize) -> impl Iterator<Item = usize> {
    let first = turn.checked_rem(ready).unwrap_or(0);
    (0..ready).map(move |step| (first + step) % ready)
}

/// The worker with the least `load`, which is `None` for those that must not be
/// chosen. Between equals the first from the one in turn on, so that an idle
/// cluster is used evenly.
pub(crate) fn least_loaded(ready: usize, turn: usize, load: impl Fn(usize) -> Option<u64>) -> Option<usize> {
    round_robin(ready, turn)
        .filter_map(|index| Some((load(index)?, index)))
        .min_by_key(|&(load, _)| load)
        .map(|(_, index)| index)
}

/// The less loaded of two different workers that `random` draws; the other one
/// when `load` has `None` for one of them, and [`least_loaded`] when for both.
pub(crate) fn power_of_two(ready: usize, random: u64, load: impl Fn(usize) -> Option<u64>) -> Option<usize> {
    let (first, second) = draw_two(ready, random)?;
    match (load(first), load(second)) {
        (Some(one), Some(other)) => Some(if other < one { second } else { first }),
        (Some(_), None) => Some(first),
        (None, Some(_)) => Some(second),
        (None, None) => least_loaded(ready, first, load),
    }
}

/// Two different indices below `ready`, or twice the only one. The order of the
/// two is random as well, so equals need no turn.
fn draw_two(ready: usize, random: u64) -> Option<(usize, usize)> {
    let (one, other) = ((random >> 32) as usize, (random & u64::from(u32::MAX)) as usize);
    let first = one.checked_rem(ready)?;
    let step = other.checked_rem(ready - 1).map_or(0, |step| step + 1);
    Some((first, (first + step) % ready))
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
        assert_eq!(least_loaded(0, 3, |_| Some(0)), None);
        assert_eq!(power_of_two(0, 3, |_| Some(0)), None);
    }

    #[test]
    fn survives_the_counter_wrapping() {
        assert_eq!(order(3, usize::MAX).len(), 3);
        assert!(least_loaded(3, usize::MAX, |_| Some(0)).is_some());
    }

    #[test]
    fn the_least_loaded_is_chosen_and_equals_take_turns() {
        let loads = [Some(3), Some(1), Some(2), Some(1)];
        let chosen: Vec<_> =
            (0..4).map(|turn| least_loaded(4, turn, |index| loads[index]).unwrap()).collect();
        assert_eq!(chosen, [1, 1, 3, 3]);
        let idle: Vec<_> = (0..8).map(|turn| least_loaded(4, turn, |_| Some(0)).unwrap()).collect();
        assert_eq!(idle, [0, 1, 2, 3, 0, 1, 2, 3]);
    }

    #[test]
    fn who_must_not_be_chosen_is_not() {
        let loads = [None, Some(9), None];
        for number in 0..100 {
            let random = fastrand::Rng::with_seed(number).u64(..);
            assert_eq!(least_loaded(3, number as usize, |index| loads[index]), Some(1));
            assert_eq!(power_of_two(3, random, |index| loads[index]), Some(1));
            assert_eq!(power_of_two(3, random, |_| None), None);
        }
    }

    #[test]
    fn two_that_are_drawn_differ_and_every_pair_is_drawn_alike() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut counts = [[0_u32; 4]; 4];
        for _ in 0..12_000 {
            let (first, second) = draw_two(4, random.u64(..)).unwrap();
            counts[first][second] += 1;
        }
        for (first, row) in counts.iter().enumerate() {
            for (second, &count) in row.iter().enumerate() {
                let fits = if first == second { count == 0 } else { (800..1200).contains(&count) };
                assert!(fits, "{first} and {second}: {count} of 12000");
            }
        }
        assert_eq!(draw_two(1, u64::MAX), Some((0, 0)));
    }

    #[test]
    fn two_choices_leave_the_most_loaded_alone_and_share_the_rest() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut loads = [0_u64; 8];
        loads[3] = 100_000;
        for _ in 0..8_000 {
            let chosen = power_of_two(8, random.u64(..), |index| Some(loads[index])).unwrap();
            loads[chosen] += 1;
        }
        assert_eq!(loads[3], 100_000, "in every pair it is the worse");
        let others: Vec<_> = (0..8).filter(|&index| index != 3).map(|index| loads[index]).collect();
        let (least, most) = (others.iter().min().unwrap(), others.iter().max().unwrap());
        // The difference grows with the logarithm of the logarithm of their number.
        assert!(most - least <= 12, "{others:?}");
    }
}
