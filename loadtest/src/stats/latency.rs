//! Times, in a histogram of fixed size.

use std::time::Duration;

use hdrhistogram::Histogram;

/// What is beyond an hour counts as an hour.
const HIGHEST: u64 = 3_600_000_000_000;
/// Decimal digits that a value keeps: an error of at most 0.1 %.
const DIGITS: u8 = 3;

/// Nanoseconds from 1 to an hour, each within 0.1 % (HdrHistogram): 260 KiB,
/// whatever it counts.
#[derive(Debug, Clone)]
pub struct Latency(Histogram<u64>);

impl Default for Latency {
    fn default() -> Self {
        Self(
            Histogram::new_with_bounds(1, HIGHEST, DIGITS).expect("the bounds are constants that it accepts"),
        )
    }
}

impl Latency {
    pub fn record(&mut self, time: Duration) {
        self.0.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    pub fn merge(&mut self, other: &Self) {
        self.0.add(&other.0).expect("both have the same bounds");
    }

    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The smallest recorded value that is at least as large as the fraction
    /// `quantile` (0…1) of all values, in nanoseconds; 0 without values.
    pub fn quantile(&self, quantile: f64) -> u64 {
        if self.count() == 0 { 0 } else { self.0.value_at_quantile(quantile).min(self.0.max()) }
    }

    pub fn min(&self) -> u64 {
        if self.count() == 0 { 0 } else { self.0.min() }
    }

    pub fn max(&self) -> u64 {
        self.0.max()
    }

    pub fn mean(&self) -> f64 {
        self.0.mean()
    }

    pub fn stdev(&self) -> f64 {
        self.0.stdev()
    }

    /// Every value that occurred, as (nanoseconds, how often), ascending.
    pub fn buckets(&self) -> Vec<(u64, u64)> {
        self.0.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A skewed distribution, the same on every run.
    fn recorded(n: usize) -> (Latency, Vec<u64>) {
        let mut random = fastrand::Rng::with_seed(7);
        let mut latency = Latency::default();
        let mut exact = Vec::new();
        for _ in 0..n {
            let nanos = (20_000.0 * (-random.f64().max(1e-12).ln()).exp()) as u64;
            latency.record(Duration::from_nanos(nanos));
            exact.push(nanos);
        }
        exact.sort_unstable();
        (latency, exact)
    }

    #[test]
    fn percentiles_are_those_of_the_sorted_values_within_the_stated_error() {
        for n in [1, 2, 3, 10, 100, 999, 50_000] {
            let (latency, exact) = recorded(n);
            for quantile in [0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0] {
                // Nearest rank: the value at ⌈q·n⌉.
                let rank = ((quantile * n as f64).ceil() as usize).clamp(1, n);
                let (want, got) = (exact[rank - 1] as f64, latency.quantile(quantile) as f64);
                assert!((got - want).abs() <= want * 0.001 + 1.0, "n {n} q {quantile}: {got} for {want}");
            }
            assert_eq!((latency.min(), latency.max()), (latency.quantile(0.0), latency.quantile(1.0)));
            let mean = exact.iter().sum::<u64>() as f64 / n as f64;
            assert!((latency.mean() - mean).abs() <= mean * 0.001 + 1.0);
        }
    }

    #[test]
    fn merging_is_the_same_as_recording_everything_in_one() {
        let (all, exact) = recorded(10_000);
        let (mut left, mut right) = (Latency::default(), Latency::default());
        for (index, &nanos) in exact.iter().enumerate() {
            if index % 3 == 0 { &mut left } else { &mut right }.record(Duration::from_nanos(nanos));
        }
        left.merge(&right);
        assert_eq!(left.count(), all.count());
        assert_eq!(left.buckets(), all.buckets());
    }

    #[test]
    fn nothing_recorded_and_too_much_are_no_surprise() {
        let mut latency = Latency::default();
        assert_eq!((latency.min(), latency.quantile(0.99), latency.max()), (0, 0, 0));
        latency.record(Duration::from_secs(86_400));
        assert!((latency.quantile(0.5) as f64 / HIGHEST as f64 - 1.0).abs() < 0.001);
    }
}
