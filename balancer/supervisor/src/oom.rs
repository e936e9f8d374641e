//! Whom the kernel ends first when memory runs out, and whether it did.
//!
//! A candidate goes before a worker that serves, and any worker before the primary and
//! its shims, without which nobody would start another (proc_pid_oom_score_adj(5)).

use std::fs;
use std::path::PathBuf;

/// What a worker's score is above the primary's.
const WORKER: i32 = 100;
/// What a candidate's score is above the primary's: more than the memory of any worker
/// makes up for while it fits into half of the limit.
const CANDIDATE: i32 = 600;
/// The highest score that there is.
const HIGHEST: i32 = 1_000;

/// What a process is to the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rank {
    Worker,
    /// Stands by for a rollout that may fail.
    Candidate,
}

/// Gives this process its rank. Processes that it starts later inherit it.
pub(crate) fn set_rank(pid: u32, rank: Rank) {
    let own = fs::read_to_string("/proc/self/oom_score_adj").ok();
    let own = own.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    let above = if rank == Rank::Worker { WORKER } else { CANDIDATE };
    let score = HIGHEST.min(own + above);
    // Refused where the process runs as somebody else, and in vain when it has ended.
    if let Err(err) = fs::write(format!("/proc/{pid}/oom_score_adj"), score.to_string()) {
        tracing::debug!(pid, %err, "could not set oom_score_adj");
    }
}

/// Counts the processes that the kernel has ended because memory had run out.
#[derive(Debug)]
pub(crate) struct OomWatch {
    source: Option<PathBuf>,
    /// Those that are accounted for.
    seen: u64,
}

impl OomWatch {
    pub(crate) fn new() -> Self {
        let source = sources().into_iter().find(|path| count(path).is_some());
        let seen = source.as_ref().and_then(count).unwrap_or(0);
        Self { source, seen }
    }

    /// Has one been ended that is not accounted for? Accounts for it.
    pub(crate) fn claim(&mut self) -> bool {
        let now = self.source.as_ref().and_then(count).unwrap_or(0);
        let is_new = now > self.seen;
        self.seen += u64::from(is_new);
        is_new
    }
}

/// Where the kernel counts: in this process's control group (cgroups(7), version 2 or 1),
/// else for the whole machine.
fn sources() -> Vec<PathBuf> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut sources = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        if controllers.is_empty() {
            sources.push(format!("/sys/fs/cgroup{path}/memory.events"));
        } else if controllers.split(',').any(|controller| controller == "memory") {
            sources.push(format!("/sys/fs/cgroup/memory{path}/memory.oom_control"));
        }
    }
    sources.push("/proc/vmstat".to_owned());
    sources.into_iter().map(PathBuf::from).collect()
}

fn count(path: &PathBuf) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_counts_somewhere() {
        let mut watch = OomWatch::new();
        assert!(watch.source.is_some(), "none of {:?}", sources());
        watch.claim();
    }

    #[test]
    fn each_death_is_claimed_once() {
        let file = std::env::temp_dir().join(format!("oom-watch-{}", std::process::id()));
        fs::write(&file, "low 0\noom 9\noom_kill 2\noom_group_kill 7\n").unwrap();
        let mut watch = OomWatch { seen: count(&file).unwrap(), source: Some(file.clone()) };
        assert!(!watch.claim());
        fs::write(&file, "oom_kill 4\n").unwrap();
        assert_eq!([watch.claim(), watch.claim(), watch.claim()], [true, true, false]);
        fs::remove_file(file).unwrap();
    }

    #[test]
    fn a_candidate_goes_before_a_worker() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let score = || fs::read_to_string(format!("/proc/{}/oom_score_adj", child.id())).unwrap();
        let before: i32 = score().trim().parse().unwrap();
        set_rank(child.id(), Rank::Candidate);
        assert_eq!(score().trim(), (before + CANDIDATE).min(HIGHEST).to_string());
        set_rank(child.id(), Rank::Worker);
        assert_eq!(score().trim(), (before + WORKER).min(HIGHEST).to_string());
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
