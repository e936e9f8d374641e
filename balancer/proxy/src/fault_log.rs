//! Says what went wrong, without a flood: the first fault of a worker and kind at once,
//! then one line in a while, with the number of those that were not said.
//!
//! Requests that meet no fault do not come here, so a lock is fine.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use balancer_state::faults::{Rejection, WorkerFault};
use shared_protocol::WorkerId;
use tracing::warn;

use crate::fault::Fault;

/// Time between two lines for one worker and kind. Metrics count every fault.
const INTERVAL: Duration = Duration::from_secs(10);

/// When each kind of fault was said last. It has an entry for each slot and kind at most.
#[derive(Debug, Default)]
pub(crate) struct FaultLog(Mutex<HashMap<(WorkerId, &'static str), Said>>);

/// Method, path without its query, and id of a request, for people.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestName<'a>(pub(crate) [&'a [u8]; 3]);

#[derive(Debug)]
struct Said {
    at: Instant,
    suppressed: u64,
}

impl FaultLog {
    /// May a fault be said that happens `now`? If so, how many were not said since the
    /// last one that was.
    fn admit(&self, worker: WorkerId, kind: &'static str, now: Instant) -> Option<u64> {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match said.get_mut(&(worker, kind)) {
            Some(last) if now.saturating_duration_since(last.at) < INTERVAL => {
                last.suppressed += 1;
                None
            }
            Some(last) => {
                last.at = now;
                Some(std::mem::take(&mut last.suppressed))
            }
            None => {
                said.insert((worker, kind), Said { at: now, suppressed: 0 });
                Some(0)
            }
        }
    }

    /// A worker failed the request, for `reason`.
    pub(crate) fn worker_failed(
        &self,
        (worker, pid): (WorkerId, u32),
        fault: WorkerFault,
        request: RequestName<'_>,
        reason: &dyn std::fmt::Display,
    ) {
        let kind = Fault::Worker(fault).name();
        let Some(suppressed) = self.admit(worker, kind, Instant::now()) else { return };
        let [method, path, request_id] = request.0.map(String::from_utf8_lossy);
        warn!(%worker, pid, fault = kind, %method, %path, %request_id, suppressed, "a request failed: {reason}");
    }

    /// The balancer rejected a request, for `reason`.
    pub(crate) fn rejected(
        &self,
        rejection: Rejection,
        request: RequestName<'_>,
        reason: &dyn std::fmt::Display,
    ) {
        let kind = Fault::Rejected(rejection).name();
        let Some(suppressed) = self.admit(WorkerId::PRIMARY, kind, Instant::now()) else { return };
        let [method, path, request_id] = request.0.map(String::from_utf8_lossy);
        warn!(fault = kind, %method, %path, %request_id, suppressed, "a request was rejected: {reason}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_worker_and_kind_is_said_once_in_a_while_with_a_count() {
        let (log, start) = (FaultLog::default(), Instant::now());
        let admit =
            |worker, kind, seconds| log.admit(WorkerId(worker), kind, start + Duration::from_secs(seconds));
        assert_eq!(admit(1, "closed", 0), Some(0));
        assert_eq!(admit(1, "closed", 1), None);
        assert_eq!(admit(1, "closed", 9), None);
        assert_eq!(admit(2, "closed", 9), Some(0), "another worker");
        assert_eq!(admit(1, "reset", 9), Some(0), "another kind");
        assert_eq!(admit(1, "closed", 10), Some(2));
        assert_eq!(admit(1, "closed", 11), None);
        assert_eq!(admit(1, "closed", 30), Some(1));
        assert_eq!(admit(1, "closed", 40), Some(0));
    }
}
