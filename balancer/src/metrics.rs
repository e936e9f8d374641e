//! What has been counted since the start. The request path adds to atomics and
//! never waits; [`exposition`] turns it all into text when it is asked for.

pub mod exposition;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shared_protocol::WorkerId;

/// Upper bounds of the latency histogram in seconds; one more bucket has none.
pub const BOUNDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
const BOUNDS_MICROS: [u64; 14] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000,
];
/// Status codes of HTTP (RFC 9110, section 15).
const FIRST_STATUS: u16 = 100;
const STATUSES: usize = 500;

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
    /// Notes one request, from its parsed header to the last byte of the answer.
    pub fn record(&self, status: u16, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_MICROS.partition_point(|&bound| bound < micros);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
        let index = status.checked_sub(FIRST_STATUS).map(usize::from);
        if let Some(count) = index.and_then(|index| self.by_status.get(index)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Status codes that occurred, and how often.
    pub fn by_status(&self) -> impl Iterator<Item = (u16, u64)> {
        let counts = self.by_status.iter().map(|count| count.load(Ordering::Relaxed));
        (FIRST_STATUS..).zip(counts).filter(|&(_, count)| count > 0)
    }

    /// Requests in each bucket of [`BOUNDS`] and in the one beyond.
    pub fn latency(&self) -> [u64; BOUNDS.len() + 1] {
        std::array::from_fn(|bucket| self.buckets[bucket].load(Ordering::Relaxed))
    }

    /// Time that all requests took together.
    pub fn total_time(&self) -> Duration {
        Duration::from_micros(self.micros.load(Ordering::Relaxed))
    }
}

/// Why a process was started in place of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    Crash,
    Hang,
    SlowStart,
    PortTaken,
    Reload,
    MaxMemory,
    MaxRequests,
    MaxLifetime,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Crash => "crash",
            Self::Hang => "hang",
            Self::SlowStart => "slow-start",
            Self::PortTaken => "port-taken",
            Self::Reload => "reload",
            Self::MaxMemory => "max-memory",
            Self::MaxRequests => "max-requests",
            Self::MaxLifetime => "max-lifetime",
        })
    }
}

/// How a reload ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReloadOutcome {
    Done,
    RolledBack,
}

/// Everything that is counted.
#[derive(Debug, Default)]
pub struct Metrics {
    /// What the primary answered itself.
    pub primary: Arc<Traffic>,
    /// Clients that had too many connections open already.
    pub connections_refused: AtomicU64,
    slots: Mutex<BTreeMap<WorkerId, Slot>>,
    reloads_done: AtomicU64,
    reloads_rolled_back: AtomicU64,
}

/// One slot's counters; they outlive its processes.
#[derive(Debug, Clone, Default)]
struct Slot {
    traffic: Arc<Traffic>,
    replaced: BTreeMap<Reason, u64>,
}

impl Metrics {
    /// The counters of slot `id`, for the request path to keep.
    pub fn traffic(&self, id: WorkerId) -> Arc<Traffic> {
        Arc::clone(&self.lock().entry(id).or_default().traffic)
    }

    /// All counters of requests, the primary's first.
    pub fn all_traffic(&self) -> Vec<(WorkerId, Arc<Traffic>)> {
        let slots = self.lock();
        let workers = slots.iter().map(|(&id, slot)| (id, Arc::clone(&slot.traffic)));
        std::iter::once((WorkerId::PRIMARY, Arc::clone(&self.primary))).chain(workers).collect()
    }

    /// Notes that a process of slot `id` was replaced.
    pub fn replaced(&self, id: WorkerId, reason: Reason) {
        *self.lock().entry(id).or_default().replaced.entry(reason).or_default() += 1;
    }

    pub fn reloaded(&self, outcome: ReloadOutcome) {
        let count = match outcome {
            ReloadOutcome::Done => &self.reloads_done,
            ReloadOutcome::RolledBack => &self.reloads_rolled_back,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<WorkerId, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
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
        traffic.record(0, Duration::ZERO);
        assert_eq!(traffic.by_status().collect::<Vec<_>>(), [(200, 2), (599, 1)]);
        let latency = traffic.latency();
        assert_eq!((latency[0], latency[1], latency[14]), (2, 1, 1));
        assert_eq!(traffic.total_time(), Duration::from_micros(60_001_001));
    }

    #[test]
    fn bounds_agree_in_both_units() {
        for (seconds, micros) in BOUNDS.iter().zip(BOUNDS_MICROS) {
            assert!((seconds * 1e6 - micros as f64).abs() < 1e-6);
        }
    }

    #[test]
    fn a_slots_counters_outlive_its_processes() {
        let metrics = Metrics::default();
        metrics.traffic(WorkerId(1)).record(200, Duration::ZERO);
        metrics.traffic(WorkerId(1)).record(200, Duration::ZERO);
        assert_eq!(metrics.traffic(WorkerId(1)).by_status().next(), Some((200, 2)));
    }
}
