//! Words for rollouts that go from one worker to the next, and for what a rollout leaves
//! that has failed.

use std::time::Duration;

use balancer_fleet::{Left, Mixed, RolloutKind};
use balancer_state::registry::Reason;
use shared_protocol::{Turn, WorkerId};

use crate::diagnosis::{says, says_in_use};
use crate::running::RunningProcess;

/// What a worker still has whose turn it is. It has `within` for its requests, and for its
/// long-lived connections if it has nothing else.
pub(crate) fn turn(process: &RunningProcess, place: usize, of: usize, within: (Duration, Duration)) -> Turn {
    let worker = process.worker.as_ref();
    let (requests, long_lived) =
        worker.map_or((0, 0), |worker| (worker.workload().requests, worker.long_lived()));
    let up_to = if requests > 0 { within.0 } else { within.1 };
    let up_to_ms = u64::try_from(up_to.as_millis()).unwrap_or(u64::MAX);
    Turn { place, of, requests, long_lived, up_to_ms }
}

/// What is said of a rollout that did not succeed.
pub(crate) fn failure(kind: RolloutKind, left: &Left, why: &str) -> String {
    let what = match (kind, left) {
        (RolloutKind::Reload, Left::AsBefore) => "reload given up, the old workers stay",
        (RolloutKind::Reload, Left::Switched) => "reload not finished, the new workers stay",
        (RolloutKind::Reload, Left::Mixed(_)) => "reload given up half way",
        (RolloutKind::Recycle(_), Left::AsBefore) => "replacement given up, the old worker stays",
        (RolloutKind::Recycle(_), Left::Switched) => "replacement not finished, the new worker stays",
        (RolloutKind::Recycle(_), Left::Mixed(_)) => "replacement not finished",
        (RolloutKind::Grow { .. } | RolloutKind::Shrink { .. }, _) => "scaling given up",
    };
    format!("{what}: {}", with_left(why.to_owned(), kind, left))
}

/// Why a rollout has failed, and what it leaves where that is neither the one nor the other.
pub(crate) fn with_left(why: String, kind: RolloutKind, left: &Left) -> String {
    match (kind, left) {
        (RolloutKind::Reload, Left::Mixed(mixed)) => format!("{why}; {}", state(mixed)),
        (_, Left::Mixed(Mixed { down: Some(down), .. })) => {
            format!("{why}; worker {down} is down, and is started again")
        }
        _ => why,
    }
}

/// For the service manager.
pub(crate) fn notice(left: &Left) -> &'static str {
    match left {
        Left::Mixed(_) => "a reload failed half way; see balancer status",
        Left::AsBefore | Left::Switched => "a reload failed; the workers from before it serve",
    }
}

/// Such as "2 of 4 workers have the new release, worker 3 is down and is started again with
/// the old one, worker 4 has the old one".
fn state(mixed: &Mixed) -> String {
    let Mixed { new, down, old } = mixed;
    let all = new.len() + usize::from(down.is_some()) + old.len();
    let has = match new.len() {
        0 => format!("none of {all} workers has the new release"),
        1 => format!("1 of {all} workers has the new release"),
        some => format!("{some} of {all} workers have the new release"),
    };
    let down = down.map(|down| format!("worker {down} is down and is started again with the old one"));
    let rest = (!old.is_empty()).then(|| format!("{} the old one", who(old)));
    [Some(has), down, rest].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn who(workers: &[WorkerId]) -> String {
    let ids: Vec<_> = workers.iter().map(WorkerId::to_string).collect();
    match &ids[..] {
        [one] => format!("worker {one} has"),
        [first, last] => format!("workers {first} and {last} have"),
        [first, .., last] if last.parse() == Ok(workers[0].0 as usize + ids.len() - 1) => {
            format!("workers {first} to {last} have")
        }
        _ => format!("workers {} have", ids.join(", ")),
    }
}

/// What a failed reload says besides, where another mode may help.
pub(crate) const HINT: &str = "it may need something of its own for each worker, such as a port or a lock, \
    that the old process still has: --reload-mode one-by-one ends each worker before its successor starts";

/// Does a program say that another process has what it needs: a port, a lock (EAGAIN of
/// flock(2)) or a pid file?
pub(crate) fn says_taken(reason: &Reason) -> bool {
    let words = ["resource temporarily unavailable", "already running", "already locked", "lock is held"];
    says_in_use(&reason.last_lines) || says(&reason.last_lines, &words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[u32]) -> Vec<WorkerId> {
        ids.iter().copied().map(WorkerId).collect()
    }

    #[test]
    fn what_is_left_half_way_is_said_in_words() {
        let mixed = |new: &[u32], down: Option<u32>, old: &[u32]| {
            state(&Mixed { new: ids(new), down: down.map(WorkerId), old: ids(old) })
        };
        assert_eq!(
            mixed(&[1, 2], Some(3), &[4]),
            "2 of 4 workers have the new release, worker 3 is down and is started again with the old one, \
             worker 4 has the old one"
        );
        assert_eq!(
            mixed(&[], Some(1), &[2, 3, 4]),
            "none of 4 workers has the new release, worker 1 is down and is started again with the old one, \
             workers 2 to 4 have the old one"
        );
        assert_eq!(
            mixed(&[1], None, &[2, 3]),
            "1 of 3 workers has the new release, workers 2 and 3 have the old one"
        );
        assert!(mixed(&[2], Some(1), &[3, 5, 6]).ends_with("workers 3, 5, 6 have the old one"));
        assert!(mixed(&[1], Some(2), &[]).ends_with("started again with the old one"));
    }

    #[test]
    fn a_program_whose_predecessor_has_what_it_needs_says_so() {
        let reason = |line: &str| Reason { text: String::new(), last_lines: vec![line.to_owned()] };
        for line in [
            "OSError: [Errno 98] Address already in use",
            "Error: listen EADDRINUSE: address already in use 127.0.0.1:9001",
            "BlockingIOError: [Errno 11] Resource temporarily unavailable",
            "a server is already running (pid 4711)",
        ] {
            assert!(says_taken(&reason(line)), "{line}");
        }
        assert!(!says_taken(&reason("ModuleNotFoundError: No module named 'flask'")));
    }
}
