//! What can go wrong with a request on the balancer's side of things, by kind: faults of
//! workers, and requests that the balancer rejects itself. The names are those in logs,
//! metrics and the access log.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a worker did wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WorkerFault {
    /// It refused the connection.
    Refused,
    /// It did not accept the connection in time.
    ConnectTimeout,
    /// The connection could not be made for another reason, such as a lack of ports.
    ConnectFailed,
    /// It closed the connection before it had answered.
    Closed,
    /// It reset the connection before it had answered.
    Reset,
    /// It did not begin its response in time.
    ResponseTimeout,
    /// It had not begun its response when it had to end.
    DrainTimeout,
    /// It sent something that is no valid response.
    InvalidResponse,
    /// It ended within its response, of which the client has a part.
    Truncated,
    /// It did not go on with its response in time.
    TruncatedTimeout,
}

impl WorkerFault {
    pub const ALL: [Self; 10] = [
        Self::Refused,
        Self::ConnectTimeout,
        Self::ConnectFailed,
        Self::Closed,
        Self::Reset,
        Self::ResponseTimeout,
        Self::DrainTimeout,
        Self::InvalidResponse,
        Self::Truncated,
        Self::TruncatedTimeout,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::ConnectTimeout => "connect-timeout",
            Self::ConnectFailed => "connect-failed",
            Self::Closed => "closed",
            Self::Reset => "reset",
            Self::ResponseTimeout => "response-timeout",
            Self::DrainTimeout => "drain-timeout",
            Self::InvalidResponse => "invalid-response",
            Self::Truncated => "truncated",
            Self::TruncatedTimeout => "truncated-timeout",
        }
    }
}

/// Why the balancer rejects a request that is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rejection {
    NoWorkerReady,
    /// All workers were at their concurrency limit, and the queue was full.
    QueueFull,
    /// All workers stayed at their concurrency limit for the whole queue timeout.
    QueueTimeout,
    /// All workers had as many upgraded connections as they may.
    MaxTunnels,
    /// The client's address had as many connections as it may.
    MaxConnectionsPerIp,
    /// There was maintenance.
    Maintenance,
}

impl Rejection {
    pub const ALL: [Self; 6] = [
        Self::NoWorkerReady,
        Self::QueueFull,
        Self::QueueTimeout,
        Self::MaxTunnels,
        Self::MaxConnectionsPerIp,
        Self::Maintenance,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::NoWorkerReady => "no-worker-ready",
            Self::QueueFull => "queue-full",
            Self::QueueTimeout => "queue-timeout",
            Self::MaxTunnels => "max-tunnels",
            Self::MaxConnectionsPerIp => "max-connections-per-ip",
            Self::Maintenance => "maintenance",
        }
    }
}

/// Requests that were rejected, by reason.
#[derive(Debug, Default)]
pub struct Rejections([AtomicU64; Rejection::ALL.len()]);

impl Rejections {
    pub fn add(&self, rejection: Rejection) {
        self.0[rejection as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub fn count(&self, rejection: Rejection) -> u64 {
        self.0[rejection as usize].load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_name_and_a_count_of_its_own() {
        let rejections = Rejections::default();
        for (index, rejection) in Rejection::ALL.into_iter().enumerate() {
            (0..=index).for_each(|_| rejections.add(rejection));
        }
        let counts = Rejection::ALL.map(|rejection| rejections.count(rejection));
        assert_eq!(counts, [1, 2, 3, 4, 5, 6]);
        let mut names: Vec<_> = Rejection::ALL.map(Rejection::name).to_vec();
        names.extend(WorkerFault::ALL.map(WorkerFault::name));
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
