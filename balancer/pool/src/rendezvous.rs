//! Rendezvous hashing: a key has an order of all workers of its own, and keeps it.
//!
//! Each pair of a key and a slot has a weight, and a key's order is that of its weights
//! (D. Thaler and C. Ravishankar, "Using Name-Based Mappings to Increase Hit Rates",
//! 1998: highest random weight). A slot that goes moves its own keys alone, evenly to the
//! others; one that comes takes an even share, from all. Slots count, not processes, so a
//! worker that was restarted has the keys of its predecessor.
//!
//! Weights must be the same after a restart of the balancer, or all clients would move.
//! The hash is therefore one with a fixed definition (XXH3, 64 bits, no seed), which
//! std's hashers do not promise between two releases of Rust.

use shared_protocol::WorkerId;
use xxhash_rust::xxh3::xxh3_64;

/// What a request's worker is chosen by with
/// [`Strategy::Hash`](crate::select::Strategy::Hash), such as its client's address, as a
/// hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashKey(u64);

impl HashKey {
    #[inline]
    pub fn new(bytes: &[u8]) -> Self {
        Self(xxh3_64(bytes))
    }

    /// The weight of a slot to this key: requests go to the slot with the highest one.
    #[inline]
    pub(crate) fn weight(self, slot: WorkerId) -> u64 {
        mix(self.0 ^ mix(u64::from(slot.0)))
    }
}

/// Spreads the difference of two numbers over all bits: one step of `SplitMix64`
/// (G. Steele, D. Lea and C. Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
#[inline]
fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// The index with the highest weight below `bound`; `weight` is `None` for workers that
/// must not be chosen. Weights of different slots differ: [`mix`] can be undone.
#[inline]
pub(crate) fn highest(
    ready: usize,
    bound: Option<u64>,
    weight: impl Fn(usize) -> Option<u64>,
) -> Option<(u64, usize)> {
    (0..ready)
        .filter_map(|index| Some((weight(index)?, index)))
        .filter(|&(weight, _)| bound.is_none_or(|bound| weight < bound))
        .max_by_key(|&(weight, _)| weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: u32 = 100_000;

    fn key(number: u32) -> HashKey {
        HashKey::new(format!("198.51.{}.{}", number >> 8, number & 255).as_bytes())
    }

    /// The slots of a key, from the first on.
    fn order(key: HashKey, slots: u32) -> Vec<u32> {
        let weight = |index: usize| Some(key.weight(WorkerId(index as u32 + 1)));
        let mut order = Vec::new();
        let mut bound = None;
        while let Some((weight, index)) = highest(slots as usize, bound, weight) {
            order.push(index as u32 + 1);
            bound = Some(weight);
        }
        order
    }

    fn home(number: u32, slots: u32) -> u32 {
        order(key(number), slots)[0]
    }

    /// Pearson's statistic of `counts` against equal shares.
    fn chi_square(counts: &[u32]) -> f64 {
        let expected = f64::from(counts.iter().sum::<u32>()) / counts.len() as f64;
        counts.iter().map(|&count| (f64::from(count) - expected).powi(2) / expected).sum()
    }

    #[test]
    fn weights_are_those_of_every_other_build() {
        // As the definitions of XXH3 and SplitMix64 have it, for nothing and for zero.
        assert_eq!((HashKey::new(b""), mix(0)), (HashKey(0x2d06_8005_38d3_94c2), 0xe220_a839_7b1d_cdaf));
        assert_eq!(order(HashKey::new(b"192.0.2.7"), 5), [5, 2, 4, 3, 1]);
    }

    #[test]
    fn keys_are_shared_evenly_and_every_order_of_workers_occurs_alike() {
        let mut homes = [0; 7];
        let mut orders = std::collections::HashMap::new();
        for number in 0..KEYS {
            homes[home(number, 7) as usize - 1] += 1;
            *orders.entry(order(key(number), 4)).or_insert(0) += 1;
        }
        // 0.1 % of fair hashes are above these (6 and 23 degrees of freedom).
        assert!(chi_square(&homes) < 22.5, "{homes:?}");
        assert_eq!(orders.len(), 24);
        let counts: Vec<_> = orders.values().copied().collect();
        assert!(chi_square(&counts) < 49.7, "{orders:?}");
    }

    #[test]
    fn no_more_keys_move_than_must_when_the_number_of_workers_changes() {
        for (few, more) in [(1, 2), (4, 5), (15, 16)] {
            let moved = (0..KEYS).filter(|&number| home(number, few) != home(number, more));
            let moved: Vec<_> = moved.collect();
            assert!(moved.iter().all(|&number| home(number, more) == more), "{few} to {more}");
            // The standard deviation is 0.13 % for a fifth, and 0.16 % at most.
            let (share, ideal) = (moved.len() as f64 / f64::from(KEYS), 1.0 / f64::from(more));
            assert!((share - ideal).abs() < 0.006, "{few} to {more}: {share}, {ideal} would be ideal");
        }
    }

    #[test]
    fn the_keys_of_a_worker_that_is_away_go_to_all_others_alike() {
        let mut heirs = [0; 3];
        for order in (0..KEYS).map(|number| order(key(number), 4)).filter(|order| order[0] == 4) {
            heirs[order[1] as usize - 1] += 1;
        }
        assert!(chi_square(&heirs) < 13.8, "{heirs:?}");
    }
}
