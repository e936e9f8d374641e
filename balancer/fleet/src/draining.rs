//! What becomes of those that a rollout has retired, after it: one for each slot at most,
//! and somebody may wait for their end.

use std::time::Instant;

use shared_protocol::{Generation, WorkerId};

use super::rollout::AwaitedDrain;
use super::seeded::{Bug, seeded};
use super::{ClusterEvent, Fleet, Left, RequestId, STOPPING};

impl Fleet {
    /// A slot has one process that finishes what it has, at most.
    pub(super) fn cut_drains_short(&mut self, worker: WorkerId, now: Instant) {
        let limits = self.settings.limits;
        for index in 0..self.members.len() {
            let member = &self.members[index];
            let finishes = member.id == worker && member.finishes(&limits, now);
            if let Some(generation) = member.generation().filter(|_| finishes) {
                self.announce(ClusterEvent::DrainCutShort { worker, generation }, None);
                let effects = self.members[index].cut_short(&limits, now);
                self.effects.extend(effects);
            }
        }
    }

    /// Who waits for the end of this retired process.
    pub(super) fn awaits(&self, generation: Generation) -> Option<RequestId> {
        let awaited = self.awaited.iter().find(|awaited| awaited.retired.contains(&generation));
        awaited.map(|awaited| awaited.requester)
    }

    /// A retired process is gone, and with the last one a wait is over.
    pub(super) fn note_retired_gone(&mut self, generation: Generation, now: Instant) {
        for awaited in &mut self.awaited {
            awaited.retired.retain(|&retired| retired != generation);
        }
        let is_over =
            |awaited: &mut AwaitedDrain| awaited.retired.is_empty() || seeded(Bug::DoneWhileDraining);
        let over: Vec<_> = self.awaited.extract_if(.., is_over).collect();
        for AwaitedDrain { kind, requester, began, .. } in over {
            let (workers, after) = (self.workers(), now.saturating_duration_since(began));
            self.announce(ClusterEvent::DrainDone { kind, workers, after }, Some(requester));
        }
    }

    /// The cluster stops, and what it still waits for is another matter.
    pub(super) fn forsake_awaited(&mut self) {
        for AwaitedDrain { kind, requester, .. } in std::mem::take(&mut self.awaited) {
            let why = STOPPING.to_owned();
            self.announce(
                ClusterEvent::RolloutFailed { kind, left: Left::Switched, why, culprit: None },
                Some(requester),
            );
        }
    }
}
