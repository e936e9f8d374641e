//! What processes use: requests and memory, compared with the limits of workers, and
//! processor time while they start.

use std::collections::BTreeMap;
use std::time::Duration;

use balancer_fleet::Measurement;
use shared_process::tree::{self, Processes};
use shared_protocol::Generation;
use tokio::time::Instant;

use crate::running::{RunningProcess, RunningProcesses};

/// Processes that are starting keep the processors busy when they want to run for this
/// share of the time that the processors have.
const BUSY: f64 = 0.5;

/// What all processes with a port have used; memory if it has a limit. The share of a
/// process in the pages that it has in common with others (its PSS) takes long to count,
/// so that it is done only where all of its resident pages are more than the limit.
pub(crate) fn usage(running: &RunningProcesses, max_memory: Option<u64>) -> Vec<Measurement> {
    let is_shim = |running: &RunningProcess| running.handle.is_shim;
    let all = (max_memory.is_some() && running.values().any(is_shim)).then(Processes::now);
    let measured = running.iter().filter_map(|(&generation, running)| {
        let memory = max_memory.map(|limit| memory(running, all.as_ref(), limit));
        Some(Measurement { generation, requests: running.worker.as_ref()?.requests(), memory })
    });
    measured.collect()
}

fn memory(running: &RunningProcess, all: Option<&Processes>, limit: u64) -> u64 {
    let all = all.filter(|_| running.handle.is_shim);
    let resident = match all {
        Some(all) => all.usage_below(running.handle.child).resident,
        None => tree::usage(running.pid).map_or(0, |usage| usage.resident),
    };
    if resident <= limit {
        return resident;
    }
    match all {
        Some(all) => all.proportional_below(running.handle.child),
        None => tree::proportional(running.pid).unwrap_or(resident),
    }
}

/// The demand for the processors of processes that are starting.
#[derive(Debug, Default)]
pub(crate) struct StartUsage {
    measured: Option<Instant>,
    wanted: BTreeMap<Generation, (Duration, bool)>,
}

impl StartUsage {
    /// Have those that are `starting` kept the processors busy since the last time? Of those
    /// that began since then nothing is known, so that they count as if they had.
    pub(crate) fn keep_busy(&mut self, running: &RunningProcesses, starting: &[Generation]) -> bool {
        let all = running.values().any(|running| running.handle.is_shim).then(Processes::now);
        let demand = |generation| {
            let RunningProcess { handle, pid, .. } = running.get(generation)?;
            Some(match &all {
                Some(all) if handle.is_shim => all.demand_below(handle.child),
                _ => tree::demand(*pid)?,
            })
        };
        let now = Instant::now();
        let demands = starting.iter().filter_map(|generation| Some((*generation, demand(generation)?)));
        let before = std::mem::replace(&mut self.wanted, demands.collect());
        let span = self.measured.replace(now).map_or(Duration::ZERO, |measured| now - measured);
        let share =
            |(generation, &(wanted, now)): (&Generation, &(Duration, bool))| match before.get(generation) {
                Some((before, _)) if !now && !span.is_zero() => {
                    wanted.saturating_sub(*before).as_secs_f64() / span.as_secs_f64()
                }
                _ => 1.0,
            };
        let wanted: f64 = self.wanted.iter().map(share).sum();
        wanted >= BUSY * processors().min(starting.len()) as f64
    }
}

/// Processors that this process may use.
fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
