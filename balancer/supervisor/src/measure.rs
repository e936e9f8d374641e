//! What processes use: requests and memory, compared with the limits of workers, and
//! processor time while they start.

use std::collections::BTreeMap;
use std::time::Duration;

use balancer_fleet::Measurement;
use shared_process::tree::{self, Processes};
use shared_protocol::Generation;
use tokio::time::Instant;

use crate::running::{RunningProcess, RunningProcesses};

/// Processes that are starting and use this share of the processors keep them busy: with
/// others at work beside them they may not get more.
const BUSY: f64 = 0.25;

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

/// The processor time of processes that are starting.
#[derive(Debug, Default)]
pub(crate) struct StartUsage {
    measured: Option<Instant>,
    used: BTreeMap<Generation, Duration>,
}

impl StartUsage {
    /// Have those that are `starting` kept the processors busy since the last time?
    pub(crate) fn keep_busy(&mut self, running: &RunningProcesses, starting: &[Generation]) -> bool {
        let all = running.values().any(|running| running.handle.is_shim).then(Processes::now);
        let cpu = |generation| {
            let running = running.get(generation)?;
            Some(match &all {
                Some(all) if running.handle.is_shim => all.usage_below(running.handle.child).cpu,
                _ => tree::usage(running.pid)?.cpu,
            })
        };
        let now = Instant::now();
        let used: BTreeMap<_, _> =
            starting.iter().filter_map(|generation| Some((*generation, cpu(generation)?))).collect();
        let before = std::mem::replace(&mut self.used, used);
        let since = self.measured.replace(now);
        let more = |(generation, used): (&Generation, &Duration)| {
            used.saturating_sub(before.get(generation).copied().unwrap_or_default())
        };
        let spent: Duration = self.used.iter().map(more).sum();
        // A pause of seconds is no measurement: those that start now began later.
        let span = since.map_or(LONGEST, |since| now - since).min(LONGEST);
        spent.as_secs_f64() >= BUSY * span.as_secs_f64() * processors() as f64
    }
}

/// As long as the fleet lets pass between two measurements, with some room.
const LONGEST: Duration = Duration::from_millis(60);

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
