//! The answered requests of a slot, counted by status and time. The request path
//! adds to atomics and never waits.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use shared_protocol::{LATENCY_BOUNDS, LATENCY_BOUNDS_MICROS, TrafficReport};

/// Upper bounds of the latency histogram in seconds; one more bucket has none.
pub const BOUNDS: [f64; 14] = LATENCY_BOUNDS;
/// Status codes with three digits: RFC 9110, section 15, has those up to 599, and some
/// programs use others, which are passed on.
const FIRST_STATUS: u16 = 100;
const STATUSES: usize = 900;

/// Requests that one slot has answered; slot 0 is the primary.
#[derive(Debug)]
pub struct Traffic {
    by_status: Box<[AtomicU64]>,
    buckets: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
}

impl Default for Traffic {
    fn default() -> Self {
        Self {
            by_status: (0..STATUSES).map(|_| AtomicU64::new(0)).collect(),
            buckets: Default::default(),
            micros: AtomicU64::new(0),
        }
    }
}

impl Traffic {
    /// Counts one request. `took` runs from the parsed head to the last byte of the response,
    /// or of the response's head where that begins an upgraded connection or an event stream.
    #[inline]
    pub fn record(&self, status: u16, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = LATENCY_BOUNDS_MICROS.partition_point(|&bound| bound < micros);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
        let index = status.checked_sub(FIRST_STATUS).map(usize::from);
        if let Some(count) = index.and_then(|index| self.by_status.get(index)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Adds what a worker has counted itself.
    pub fn add(&self, report: &TrafficReport) {
        for (bucket, count) in self.buckets.iter().zip(&report.buckets) {
            bucket.fetch_add(*count, Ordering::Relaxed);
        }
        self.micros.fetch_add(report.micros, Ordering::Relaxed);
        for &(status, number) in &report.statuses {
            let index = status.checked_sub(FIRST_STATUS).map(usize::from);
            if let Some(count) = index.and_then(|index| self.by_status.get(index)) {
                count.fetch_add(number, Ordering::Relaxed);
            }
        }
    }

    /// The status codes that occurred, each with its number of requests.
    pub fn by_status(&self) -> impl Iterator<Item = (u16, u64)> {
        let counts = self.by_status.iter().map(|count| count.load(Ordering::Relaxed));
        (FIRST_STATUS..).zip(counts).filter(|&(_, count)| count > 0)
    }

    /// Requests in each bucket of [`BOUNDS`] and in the one beyond.
    pub fn latency(&self) -> [u64; BOUNDS.len() + 1] {
        std::array::from_fn(|bucket| self.buckets[bucket].load(Ordering::Relaxed))
    }

    /// The sum of the times of all requests.
    pub fn total_time(&self) -> Duration {
        Duration::from_micros(self.micros.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_status_and_time() {
        let traffic = Traffic::default();
        traffic.record(200, Duration::from_micros(500));
        traffic.record(200, Duration::from_micros(501));
        traffic.record(599, Duration::from_secs(60));
        traffic.record(999, Duration::ZERO);
        traffic.record(0, Duration::ZERO);
        assert_eq!(traffic.by_status().collect::<Vec<_>>(), [(200, 2), (599, 1), (999, 1)]);
        let latency = traffic.latency();
        assert_eq!((latency[0], latency[1], latency[14]), (3, 1, 1));
        assert_eq!(traffic.total_time(), Duration::from_micros(60_001_001));
    }

    #[test]
    fn bounds_agree_in_both_units() {
        for (seconds, micros) in BOUNDS.iter().zip(LATENCY_BOUNDS_MICROS) {
            assert!((seconds * 1e6 - micros as f64).abs() < 1e-6);
        }
    }
}
