//! What the threads of a run share, and what the virtual users of a thread do.

use std::cell::{Cell, RefCell};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::connect::Connector;
use super::cpu::CpuTime;
use super::pacer::{Pacer, Share};
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
    weights: u32,
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
    /// The context of thread number `index`, which must call this itself.
    ///
    /// # Errors
    /// When the kernel gives no timer for an open loop.
    pub(super) fn new(shared: &Arc<Shared>, index: usize) -> io::Result<Self> {
        let plan = &shared.plan;
        let pacer = match plan.schedule() {
            None => None,
            Some(schedule) => {
                let share = Share {
                    first: index as u64,
                    stride: plan.threads as u64,
                    limit: plan.stop_after.unwrap_or(u64::MAX),
                };
                Some(Pacer::new(schedule, shared.start, share)?)
            }
        };
        Ok(Self {
            recorder: RefCell::new(Recorder::new(shared.measure_from(), plan.requests.len())),
            pacer,
            in_flight: Cell::new(0),
            weights: plan.requests.iter().map(|request| request.weight).sum(),
            cpu_before: Cell::new(CpuTime::of_this_thread()),
            shared: Arc::clone(shared),
        })
    }

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
