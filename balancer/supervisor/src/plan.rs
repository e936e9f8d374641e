//! Changes of the cluster that happen entirely or not at all: a reload, more
//! workers, the replacement of one that has reached a limit. Their candidates
//! are started, some at a time; only when all stand by do they take over, and
//! the first that fails ends the attempt. Pure: the supervisor carries it out.

use std::collections::VecDeque;

use shared_protocol::{EventKind as Kind, RestartReason as Reason, WorkerId};

/// Why candidates are started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Every worker gets a successor.
    Reload,
    /// There are to be so many workers.
    Grow { to: usize },
    /// There are to be fewer workers: candidates take no part in it.
    Shrink,
    /// One worker has reached a limit.
    Recycle(Reason),
}

impl Purpose {
    /// What its steps are to operators.
    pub fn kind(self) -> Kind {
        match self {
            Self::Reload => Kind::Reload,
            Self::Grow { .. } | Self::Shrink => Kind::Scale,
            Self::Recycle(_) => Kind::Limit,
        }
    }
}

/// Candidates and how far they are.
#[derive(Debug)]
pub struct Plan {
    pub purpose: Purpose,
    waiting: VecDeque<WorkerId>,
    starting: Vec<WorkerId>,
    parallel: usize,
}

impl Plan {
    /// At most `parallel` candidates start at the same time.
    pub fn new(purpose: Purpose, candidates: impl IntoIterator<Item = WorkerId>, parallel: usize) -> Self {
        Self {
            purpose,
            waiting: candidates.into_iter().collect(),
            starting: Vec::new(),
            parallel: parallel.max(1),
        }
    }

    /// The next candidate to be started, if it is time for one.
    pub fn start_next(&mut self) -> Option<WorkerId> {
        if self.starting.len() >= self.parallel {
            return None;
        }
        let id = self.waiting.pop_front()?;
        self.starting.push(id);
        Some(id)
    }

    /// A candidate stands by. `false` when that was known.
    pub fn stands_by(&mut self, id: WorkerId) -> bool {
        let before = self.starting.len();
        self.starting.retain(|&starting| starting != id);
        self.starting.len() < before
    }

    /// Do all candidates stand by?
    pub fn is_complete(&self) -> bool {
        self.waiting.is_empty() && self.starting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(from: u32, to: u32) -> impl Iterator<Item = WorkerId> {
        (from..=to).map(WorkerId)
    }

    #[test]
    fn candidates_start_in_order_and_no_more_than_allowed_at_once() {
        let mut plan = Plan::new(Purpose::Reload, ids(1, 3), 2);
        assert_eq!(plan.start_next(), Some(WorkerId(1)));
        assert_eq!(plan.start_next(), Some(WorkerId(2)));
        assert_eq!(plan.start_next(), None, "two are starting");
        assert!(plan.stands_by(WorkerId(2)));
        assert!(!plan.stands_by(WorkerId(2)), "once");
        assert_eq!(plan.start_next(), Some(WorkerId(3)));
        assert!(!plan.is_complete());
        plan.stands_by(WorkerId(1));
        plan.stands_by(WorkerId(3));
        assert!(plan.is_complete());
        assert_eq!(plan.start_next(), None);
    }

    #[test]
    fn no_parallelism_still_means_one() {
        let mut plan = Plan::new(Purpose::Grow { to: 5 }, ids(5, 5), 0);
        assert_eq!(plan.start_next(), Some(WorkerId(5)));
    }
}
