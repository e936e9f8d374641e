//! What answers tell: who answered, and how often.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;
use shared_protocol::WorkerList;

use crate::answer::Answer;
use crate::client::ClientError;

/// One worker process. Ordered by id, then pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerProcess {
    pub id: u32,
    pub pid: u32,
}

impl WorkerProcess {
    /// The `worker` member of a body.
    pub fn of(body: &Value) -> Option<Self> {
        let number = |name: &str| body["worker"][name].as_u64().and_then(|n| u32::try_from(n).ok());
        Some(Self { id: number("id")?, pid: number("pid")? })
    }
}

impl fmt::Display for WorkerProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker {} (pid {})", self.id, self.pid)
    }
}

/// The worker processes of a cluster at one moment, as its primary lists them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    pub processes: BTreeSet<WorkerProcess>,
    /// Replacements that nobody wanted, so far.
    pub restarts: u64,
    /// Some are about to join or to leave.
    moving: bool,
}

impl Membership {
    pub fn of(list: &WorkerList) -> Self {
        let who = |worker: &shared_protocol::WorkerStatus| {
            Some(WorkerProcess { id: worker.id.0, pid: worker.pid? })
        };
        Self {
            processes: list.workers.iter().filter_map(who).collect(),
            restarts: list.workers.iter().fold(0, |sum: u64, worker| sum.saturating_add(worker.restarts)),
            moving: !list.joining.is_empty() || !list.leaving.is_empty(),
        }
    }

    /// Between this and `later` an operator was at work: processes came and went,
    /// and none of them by a death.
    pub fn changed_on_purpose(&self, later: &Self) -> bool {
        let changed = self.moving || later.moving || self.processes != later.processes;
        // A slot that was scaled away takes its count with it.
        changed && later.restarts <= self.restarts
    }
}

/// Answers to many like requests, sorted out.
#[derive(Debug, Default)]
pub struct Tally {
    pub by_process: BTreeMap<WorkerProcess, u64>,
    /// Failures and answers other than 200 with a worker, in words.
    pub bad: Vec<String>,
    pub total: usize,
}

impl Tally {
    pub fn of<'a>(results: impl IntoIterator<Item = &'a Result<Answer, ClientError>>) -> Self {
        let mut tally = Self::default();
        for result in results {
            tally.add(result);
        }
        tally
    }

    pub fn add(&mut self, result: &Result<Answer, ClientError>) {
        self.total += 1;
        match result {
            Ok(answer) if answer.status == 200 => match WorkerProcess::of(&answer.json()) {
                Some(who) => *self.by_process.entry(who).or_default() += 1,
                None => self.bad.push(format!("no worker in {}", answer.quote())),
            },
            Ok(answer) => self.bad.push(answer.quote()),
            Err(err) => self.bad.push(err.to_string()),
        }
    }

    pub fn by_id(&self) -> BTreeMap<u32, u64> {
        let mut ids = BTreeMap::new();
        for (who, count) in &self.by_process {
            *ids.entry(who.id).or_default() += count;
        }
        ids
    }

    /// Counts of `workers` workers, zero for those that were not seen.
    pub fn counts(&self, workers: usize) -> Vec<u64> {
        let mut counts: Vec<u64> = self.by_id().into_values().collect();
        counts.resize(workers.max(counts.len()), 0);
        counts
    }

    /// One line per worker, for evidence.
    pub fn lines(&self) -> Vec<String> {
        self.by_process.iter().map(|(who, count)| format!("{who}: {count}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn membership(pids: &[u32], restarts: u64, moving: bool) -> Membership {
        let processes = pids.iter().zip(1..).map(|(&pid, id)| WorkerProcess { id, pid }).collect();
        Membership { processes, restarts, moving }
    }

    #[test]
    fn a_reload_is_told_from_a_death() {
        let before = membership(&[10, 11], 3, false);
        assert!(before.changed_on_purpose(&membership(&[20, 21], 3, false)));
        assert!(before.changed_on_purpose(&membership(&[10, 11], 3, true)));
        assert!(before.changed_on_purpose(&membership(&[10], 1, false)));
        assert!(!before.changed_on_purpose(&before.clone()));
        assert!(!before.changed_on_purpose(&membership(&[10, 21], 4, false)));
    }
}
