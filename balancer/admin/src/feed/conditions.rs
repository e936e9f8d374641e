//! What a page shows beside workers and rates: how requests are divided, who waits, what has
//! gone wrong since the start, and which certificates clients get.

use balancer_state::ClusterState;
use balancer_state::faults::Rejection;
use serde::Serialize;
use shared_protocol::{CertificateStatus, WorkerId};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Conditions {
    /// As `--strategy` has it.
    strategy: &'static str,
    /// `null` where workers take any number of requests at a time.
    queue: Option<Queue>,
    /// Faults that requests met at workers; none that has not happened.
    faults: Vec<FaultCount>,
    /// Requests that the balancer rejected; no reason that there was not.
    rejections: Vec<RejectionCount>,
    /// None where clients speak plain HTTP.
    certificates: Vec<CertificateStatus>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Queue {
    waiting: usize,
    /// Requests that one worker holds at a time.
    max_concurrency: u64,
}

#[derive(Debug, Serialize)]
struct FaultCount {
    worker: WorkerId,
    fault: &'static str,
    count: u64,
}

#[derive(Debug, Serialize)]
struct RejectionCount {
    reason: &'static str,
    count: u64,
}

impl Conditions {
    pub(super) fn now(state: &ClusterState) -> Self {
        let ClusterState { pool, counters, certificates, .. } = state;
        let queue =
            pool.max_concurrency().map(|max_concurrency| Queue { waiting: pool.queued(), max_concurrency });
        let slots = counters.slots();
        let faults = slots.iter().filter(|slot| slot.id != WorkerId::PRIMARY).flat_map(|slot| {
            let of_slot = slot.faults.iter().filter(|&(_, &count)| count > 0);
            of_slot.map(|(fault, &count)| FaultCount { worker: slot.id, fault: fault.name(), count })
        });
        let rejections = Rejection::ALL.into_iter().filter_map(|reason| {
            let count = counters.rejections.count(reason);
            (count > 0).then(|| RejectionCount { reason: reason.name(), count })
        });
        Self {
            strategy: pool.strategy().name(),
            queue,
            faults: faults.collect(),
            rejections: rejections.collect(),
            certificates: certificates.all().to_vec(),
        }
    }
}
