//! What the threads of a run have in common, and the virtual users of a thread.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::connect::Connector;
use super::cpu::CpuTime;
use super::pacer::Pacer;
use crate::plan::Plan;
use crate::stats::Recorder;

/// What all threads of a run have in common.
pub(super) struct Shared {
    pub(super) plan: Arc<Plan>,
    pub(super) connector: Arc<Connector>,
    /// Requests that may still be begun after the first one of each virtual user;
    /// `None` without limit. An open loop has its limit in the schedule.
    pub(super) requests_left: Option<AtomicU64>,
    /// The warm-up, or else the measurement, begins.
    pub(super) start: Instant,
}

/// What all virtual users of a thread have in common.
pub(super) struct Context {
    pub(super) shared: Arc<Shared>,
    pub(super) recorder: RefCell<Recorder>,
    pub(super) pacer: Option<Pacer>,
    pub(super) in_flight: Cell<u64>,
    /// Sum of the mix's weights.
    pub(super) weights: u32,
    pub(super) cpu_before: Cell<CpuTime>,
}

impl Shared {
    pub(super) fn take_request(&self) -> bool {
        let Some(requests_left) = &self.requests_left else { return true };
        requests_left.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    pub(super) fn measure_from(&self) -> Instant {
        self.start + self.plan.warmup
    }
}

impl Context {
    /// Which request of the mix is next.
    pub(super) fn pick(&self, random: &mut fastrand::Rng) -> usize {
        let requests = &self.shared.plan.requests;
        if requests.len() == 1 {
            return 0;
        }
        let mut at = random.u32(..self.weights);
        for (index, request) in requests.iter().enumerate() {
            match at.checked_sub(request.weight) {
                Some(rest) => at = rest,
                None => return index,
            }
        }
        0
    }
}
