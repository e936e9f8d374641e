//! What a worker does for clients whose connections it accepts itself, as it reports it.

use std::sync::atomic::{AtomicU64, Ordering};

use shared_protocol::TrafficReport;

/// As reported last; all zero where nothing is reported.
#[derive(Debug, Default)]
pub struct DirectLoad {
    requests: AtomicU64,
    in_flight: AtomicU64,
    connections: AtomicU64,
}

impl DirectLoad {
    /// Requests that it has answered.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Requests that it is at work on.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Connections of clients that it has open.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Says whether requests have been answered since the last report.
    pub(crate) fn update(&self, report: &TrafficReport) -> bool {
        let answered: u64 = report.statuses.iter().map(|&(_, count)| count).sum();
        self.requests.fetch_add(answered, Ordering::Relaxed);
        self.in_flight.store(report.in_flight, Ordering::Relaxed);
        self.connections.store(report.connections, Ordering::Relaxed);
        answered > 0
    }
}
