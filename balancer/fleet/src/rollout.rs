//! Changes of the cluster that happen entirely or not at all: a reload, more
//! workers, fewer, the replacement of one that has reached a limit. Their
//! candidates are started, as the gate lets them through; only when all stand by do they take
//! over, and the first that fails ends the attempt.

use std::collections::VecDeque;
use std::time::Instant;

use shared_protocol::{Generation, ReleaseId, ReloadMode, WorkerId};

use super::seeded::{Bug, seeded};
use super::succession::{Down, Turns};
use super::{RequestId, Requester, ScaleTo};
use shared_protocol::RestartReason;

/// What a rollout is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RolloutKind {
    /// Every worker gets a successor.
    Reload,
    /// There are to be so many workers.
    Grow { to: usize },
    /// There are to be so many workers; candidates take no part in it.
    Shrink { to: usize },
    /// One worker has reached a limit.
    Recycle(RestartReason),
}

impl RolloutKind {
    /// Why its candidates take the place of others.
    pub fn replaces(self) -> Option<RestartReason> {
        match self {
            Self::Reload => Some(RestartReason::Reload),
            Self::Recycle(reason) => Some(reason),
            Self::Grow { .. } | Self::Shrink { .. } => None,
        }
    }
}

/// The rollout under way; there is one at a time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ActiveRollout {
    pub kind: RolloutKind,
    pub mode: ReloadMode,
    pub requester: Option<Requester>,
    pub began: Instant,
    /// The release of a reload, as soon as it is being opened.
    pub release: Option<ReleaseId>,
    pub stage: Stage,
}

impl ActiveRollout {
    /// The releases from which it may start processes.
    pub(crate) fn releases(&self) -> impl Iterator<Item = ReleaseId> + use<> {
        self.release.into_iter().chain(self.down().map(|down| down.before))
    }

    /// The worker that is being replaced one by one.
    pub(crate) fn down(&self) -> Option<Down> {
        match &self.stage {
            Stage::OneByOne(turns) => turns.down(),
            Stage::Opening | Stage::Starting(_) => None,
        }
    }

    /// Gives what [`Self::releases`] returns besides its own another name.
    #[cfg(test)]
    pub(crate) fn rename_before(&mut self, rename: impl Fn(&mut ReleaseId)) {
        if let Stage::OneByOne(turns) = &mut self.stage {
            turns.down.iter_mut().for_each(|down| rename(&mut down.before));
        }
    }
}

/// Somebody waits for the end of those that a rollout has retired.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct AwaitedDrain {
    pub kind: RolloutKind,
    pub requester: RequestId,
    pub began: Instant,
    /// Those that still run.
    pub retired: Vec<Generation>,
}

/// How far a rollout is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    /// The release of a reload is being opened.
    Opening,
    /// Candidates start. Until the switch, with which it is over, it can fail without a
    /// trace.
    Starting(Plan),
    /// Workers end and are started again, one after the other.
    OneByOne(Turns),
}

impl Stage {
    /// `workers` are replaced in this mode.
    pub(crate) fn replacing(mode: ReloadMode, workers: impl IntoIterator<Item = WorkerId>) -> Self {
        match mode {
            ReloadMode::All => Self::Starting(Plan::new(workers)),
            ReloadMode::OneByOne => Self::OneByOne(Turns::new(workers)),
        }
    }
}

/// Changes of the number of workers, relative to what it will be at their turn, that
/// may wait with somebody who waits for them; further ones are refused.
pub(crate) const QUEUED_SCALES: usize = 16;

/// Rollouts that follow the one under way.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Queued {
    /// Asked for by a signal, to which nobody expects an answer; so is `scale_by`.
    pub reload: bool,
    pub scale_by: isize,
    /// One after another, so that each requester learns what became of its own.
    pub scales: VecDeque<(ScaleTo, Requester)>,
}

/// Candidates and how far they are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Plan {
    waiting: VecDeque<WorkerId>,
    starting: Vec<WorkerId>,
}

impl Plan {
    pub(crate) fn new(candidates: impl IntoIterator<Item = WorkerId>) -> Self {
        Self { waiting: candidates.into_iter().collect(), starting: Vec::new() }
    }

    /// Has a candidate yet to be started?
    pub(crate) fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The next candidate to be started, if there is one and its slot `has_room`.
    pub(crate) fn start_next(&mut self, has_room: impl FnOnce(WorkerId) -> bool) -> Option<WorkerId> {
        let &id = self.waiting.front()?;
        if !has_room(id) {
            return None;
        }
        self.waiting.pop_front();
        self.starting.push(id);
        Some(id)
    }

    /// The candidate that is to be started next.
    #[cfg(test)]
    pub(crate) fn next(&self) -> Option<WorkerId> {
        self.waiting.front().copied()
    }

    /// This candidate stands by.
    pub(crate) fn stands_by(&mut self, id: WorkerId) {
        self.starting.retain(|&starting| starting != id);
    }

    /// Do all candidates stand by?
    pub(crate) fn is_complete(&self) -> bool {
        self.waiting.is_empty() && (self.starting.is_empty() || seeded(Bug::SwitchesEarly))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: fn(WorkerId) -> bool = |_| true;

    fn ids(from: u32, to: u32) -> impl Iterator<Item = WorkerId> {
        (from..=to).map(WorkerId)
    }

    #[test]
    fn candidates_start_in_order_where_their_slots_have_room() {
        let mut plan = Plan::new(ids(1, 2));
        assert_eq!(plan.start_next(ROOM), Some(WorkerId(1)));
        assert_eq!(plan.start_next(|id| id != WorkerId(2)), None, "its slot has no room yet");
        assert!(plan.waits());
        assert_eq!(plan.start_next(ROOM), Some(WorkerId(2)));
        assert!(!plan.waits() && !plan.is_complete());
        plan.stands_by(WorkerId(1));
        plan.stands_by(WorkerId(1));
        plan.stands_by(WorkerId(2));
        assert!(plan.is_complete());
        assert_eq!(plan.start_next(ROOM), None);
    }
}
