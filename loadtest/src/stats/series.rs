//! How a run went over time, in bounded memory.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Threads report this often.
pub const TICK: Duration = Duration::from_millis(100);
/// Points kept; when there are more, neighbours are merged and each point
/// stands for twice the time.
pub const MAX_POINTS: usize = 200;

/// One stretch of time.
#[derive(Debug, Clone)]
pub struct Interval {
    /// Complete responses.
    pub answered: u64,
    pub errors: u64,
    /// Microseconds at least, 2 digits (1 %): response time in an open loop,
    /// service time in a closed one.
    times: Histogram<u32>,
}

impl Default for Interval {
    fn default() -> Self {
        let mut times = Histogram::new_with_bounds(1_000, 2_000_000, 2)
            .expect("the bounds are constants that it accepts");
        times.auto(true);
        Self { answered: 0, errors: 0, times }
    }
}

impl Interval {
    pub fn record(&mut self, time: Duration) {
        // Above the histogram's range it grows; that fails for no value below
        // an hour, which is where it is cut.
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).min(3_600_000_000_000);
        let _ = self.times.record(nanos);
    }

    pub fn is_empty(&self) -> bool {
        self.answered == 0 && self.errors == 0
    }

    pub fn merge(&mut self, other: &Self) {
        self.answered += other.answered;
        self.errors += other.errors;
        // Both resize themselves, so that this cannot fail.
        let _ = self.times.add(&other.times);
    }

    /// Nanoseconds; 0 without values.
    pub fn quantile(&self, quantile: f64) -> u64 {
        if self.times.is_empty() { 0 } else { self.times.value_at_quantile(quantile).min(self.times.max()) }
    }

    /// Nanoseconds; 0 without values.
    pub fn mean(&self) -> f64 {
        self.times.mean()
    }

    pub fn max(&self) -> u64 {
        self.times.max()
    }
}

/// Points of equal width, from the start of the measured part.
#[derive(Debug, Clone)]
pub struct Series {
    /// In ticks.
    width: u64,
    points: Vec<Interval>,
}

impl Default for Series {
    fn default() -> Self {
        Self { width: 1, points: Vec::new() }
    }
}

impl Series {
    /// Adds what a thread saw in tick number `tick`.
    pub fn add(&mut self, tick: u64, interval: &Interval) {
        while usize::try_from(tick / self.width).map_or(true, |index| index >= MAX_POINTS) {
            self.halve();
        }
        let index = (tick / self.width) as usize;
        if self.points.len() <= index {
            self.points.resize_with(index + 1, Interval::default);
        }
        self.points[index].merge(interval);
    }

    pub fn width(&self) -> Duration {
        TICK * u32::try_from(self.width).unwrap_or(u32::MAX)
    }

    pub fn points(&self) -> &[Interval] {
        &self.points
    }

    fn halve(&mut self) {
        let merged = self.points.chunks(2).map(|pair| {
            let mut sum = pair[0].clone();
            if let Some(second) = pair.get(1) {
                sum.merge(second);
            }
            sum
        });
        self.points = merged.collect();
        self.width *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(millis: u64) -> Interval {
        let mut interval = Interval { answered: 1, ..Interval::default() };
        interval.record(Duration::from_millis(millis));
        interval
    }

    #[test]
    fn a_long_run_keeps_a_bounded_number_of_points_and_loses_no_count() {
        let mut series = Series::default();
        for tick in 0..10_000 {
            series.add(tick, &interval(5));
        }
        assert!(series.points().len() <= MAX_POINTS);
        assert_eq!(series.width(), TICK * 64);
        assert_eq!(series.points().iter().map(|point| point.answered).sum::<u64>(), 10_000);
        assert_eq!(series.points()[0].answered, 64);
    }

    #[test]
    fn merged_points_have_the_percentiles_of_all_their_values() {
        let mut series = Series::default();
        for tick in 0..100 {
            series.add(tick, &interval(if tick < 90 { 1 } else { 1_000 }));
        }
        while series.points().len() > 1 {
            series.halve();
        }
        let point = &series.points()[0];
        assert!((point.quantile(0.5) as f64 / 1e6 - 1.0).abs() < 0.02);
        assert!((point.quantile(0.95) as f64 / 1e9 - 1.0).abs() < 0.02);
        assert!((point.max() as f64 / 1e9 - 1.0).abs() < 0.02);
    }
}
