//! The last minutes in numbers, one sample per second, so that a dashboard opened
//! late has something to show. Made from the counters; the request path does
//! nothing for it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use balancer_pool::traffic::{BOUNDS, Traffic};
use shared_protocol::{Rates, Sample, WorkerId};

use crate::counters::Counters;

/// Time between samples.
pub const EVERY: Duration = Duration::from_secs(1);
/// Samples that are kept: five minutes.
const KEPT: usize = 300;
/// The newest of them, which also tell the workers apart.
const DETAILED: usize = 10;

type Buckets = [u64; BOUNDS.len() + 1];

/// Counters at one moment.
#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    buckets: Buckets,
    errors: u64,
}

impl Counted {
    fn of(traffic: &Traffic) -> Self {
        let failed = traffic.by_status().filter(|&(status, _)| status >= 500);
        Self { buckets: traffic.latency(), errors: failed.map(|(_, count)| count).sum() }
    }

    fn since(&self, before: &Self) -> Self {
        let buckets = std::array::from_fn(|index| self.buckets[index].saturating_sub(before.buckets[index]));
        Self { buckets, errors: self.errors.saturating_sub(before.errors) }
    }

    fn add(&mut self, other: &Self) {
        self.errors += other.errors;
        self.buckets.iter_mut().zip(other.buckets).for_each(|(sum, count)| *sum += count);
    }

    fn rates(&self) -> Rates {
        Rates {
            requests: self.buckets.iter().sum(),
            errors: self.errors,
            p50: quantile(&self.buckets, 0.5),
            p95: quantile(&self.buckets, 0.95),
            p99: quantile(&self.buckets, 0.99),
        }
    }
}

/// The `share`-quantile in milliseconds, linear within its bucket as Prometheus'
/// `histogram_quantile` has it; the last bucket counts as its lower bound.
fn quantile(buckets: &Buckets, share: f64) -> Option<f64> {
    let total: u64 = buckets.iter().sum();
    if total == 0 {
        return None;
    }
    let rank = share * total as f64;
    let mut below = 0.0;
    for (index, &count) in buckets.iter().enumerate() {
        let lower = index.checked_sub(1).map_or(0.0, |before| BOUNDS[before]);
        if below + count as f64 >= rank && count > 0 {
            let upper = BOUNDS.get(index).copied().unwrap_or(lower);
            return Some((lower + (upper - lower) * (rank - below) / count as f64) * 1_000.0);
        }
        below += count as f64;
    }
    None
}

#[derive(Debug, Default)]
pub struct Samples {
    samples: Mutex<VecDeque<Sample>>,
}

impl Samples {
    /// All samples, oldest first.
    pub fn all(&self) -> Vec<Sample> {
        self.lock().iter().cloned().collect()
    }

    /// The newest one.
    pub fn last(&self) -> Option<Sample> {
        self.lock().back().cloned()
    }

    fn push(&self, sample: Sample) {
        let mut samples = self.lock();
        if let Some(older) = samples.len().checked_sub(DETAILED) {
            samples[older].workers = BTreeMap::new();
        }
        if samples.len() == KEPT {
            samples.pop_front();
        }
        samples.push_back(sample);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Sample>> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the samples.
#[derive(Debug, Default)]
pub struct Sampler {
    before: BTreeMap<WorkerId, Counted>,
}

impl Sampler {
    /// What was counted since the last call, added to `samples` and returned.
    pub fn sample(&mut self, counters: &Counters, in_flight: u64, samples: &Samples) -> Sample {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut all = Counted::default();
        let mut workers = BTreeMap::new();
        for (id, traffic) in counters.all_traffic() {
            let counted = Counted::of(&traffic);
            let new = counted.since(&self.before.insert(id, counted).unwrap_or_default());
            all.add(&new);
            let rates = new.rates();
            if rates.requests > 0 && id != WorkerId::PRIMARY {
                workers.insert(id.0, rates);
            }
        }
        let at_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let sample = Sample { at_ms, all: all.rates(), in_flight, workers };
        samples.push(sample.clone());
        sample
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_in_their_buckets() {
        let mut buckets = Buckets::default();
        assert_eq!(quantile(&buckets, 0.5), None);
        buckets[1] = 100;
        assert_eq!(quantile(&buckets, 0.5), Some(0.75), "halfway between 0.5 and 1 ms");
        buckets[14] = 100;
        assert_eq!(quantile(&buckets, 0.99), Some(10_000.0), "beyond the last bound");
    }

    #[test]
    fn samples_are_differences_and_bounded_in_number() {
        let (counters, samples, mut sampler) = (Counters::default(), Samples::default(), Sampler::default());
        counters.traffic(WorkerId(1)).record(200, Duration::from_micros(700));
        counters.traffic(WorkerId(2)).record(503, Duration::from_millis(7));
        counters.primary.record(200, Duration::from_micros(100));
        let first = sampler.sample(&counters, 4, &samples);
        assert_eq!((first.all.requests, first.all.errors, first.in_flight), (3, 1, 4));
        assert_eq!(first.workers.keys().collect::<Vec<_>>(), [&1, &2]);
        assert_eq!(samples.last(), Some(first));
        (1..DETAILED).for_each(|_| drop(sampler.sample(&counters, 0, &samples)));
        assert_eq!(samples.all()[0].workers.len(), 2);
        sampler.sample(&counters, 0, &samples);
        assert!(samples.all()[0].workers.is_empty());
        for _ in 0..2 * KEPT {
            assert_eq!(sampler.sample(&counters, 0, &samples).all, Rates::default());
        }
        assert_eq!(samples.all().len(), KEPT);
    }
}
