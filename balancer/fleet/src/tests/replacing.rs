//! What the world has heard of a rollout that goes from one worker to the next.

use std::collections::BTreeMap;

use shared_protocol::{ReleaseId, ReloadMode, WorkerId};

/// A rollout that goes from one worker to the next, as it was announced.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Replacing {
    pub(super) down: Option<WorkerId>,
    /// The mode of the rollout that was under way before this step.
    pub(super) mode: Option<ReloadMode>,
    /// Those that had their turn.
    pub(super) had: Vec<WorkerId>,
    /// What was started last that serves or has served, for each slot.
    pub(super) served: BTreeMap<WorkerId, ReleaseId>,
}

impl Replacing {
    pub(super) fn serves(&mut self, worker: WorkerId, release: ReleaseId) {
        self.served.insert(worker, release);
        self.down = self.down.filter(|&down| down != worker);
    }

    /// `known` are the releases in order.
    pub(super) fn normalise(&mut self, known: &[ReleaseId]) {
        self.mode = None;
        self.served.values_mut().for_each(|release| *release = renamed(known, *release));
    }
}

/// The place of this release among those that are `known`, from 1.
pub(super) fn renamed(known: &[ReleaseId], release: ReleaseId) -> ReleaseId {
    let place = known.iter().position(|&known| known == release);
    // One that is not open any more is as good as any other.
    ReleaseId(place.map_or(0, |place| place as u64 + 1))
}
