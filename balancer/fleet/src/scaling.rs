//! The number of workers where the load chooses it: steps, and the range within which
//! everybody stays.

use std::time::Instant;

use shared_protocol::ReloadMode;

use super::autoscale::{ScaleRange, ScaleStep};
use super::rollout::Queued;
use super::seeded::{Bug, seeded};
use super::{ClusterEvent, Fleet, Lifecycle, Member};

impl Fleet {
    /// Do all workers serve, with nothing under way and nothing to follow? Only then does the
    /// load say something about their number, and a step begins.
    pub fn is_steady(&self) -> bool {
        matches!(self.lifecycle, Lifecycle::Serving)
            && (!self.is_upgrading || seeded(Bug::StepsDuringUpgrade))
            && self.rollout.is_none()
            && self.queued == Queued::default()
            && self.current().all(|member| member.phase.is_online())
    }

    /// Takes a step that the load asks for. One that does not fit any more is not taken; if it
    /// is still needed, it is asked for again.
    pub(super) fn autoscale(&mut self, step: ScaleStep, now: Instant) {
        let Some(range) = self.settings.range else { return };
        let ScaleStep { to, reason } = step;
        let from = self.workers();
        let is_steady = self.is_steady() || (seeded(Bug::StepsDuringRollout) && !self.turns_all_down());
        let is_within = range.contains(to) || seeded(Bug::StepsBeyondRange);
        let cuts = self.cuts_drains(from, to, now) && !seeded(Bug::StepsCutDrains);
        if is_steady && is_within && !cuts && to != from {
            self.announce(ClusterEvent::Autoscaled { from, to, reason }, None);
            self.change_number(from, to, None, now);
        }
    }

    /// Would the change from `from` to `to` workers take time from processes that finish what
    /// they have? A slot has one of them at most when its worker retires, and none beside a
    /// worker that starts where workers are replaced one by one. What the load asks for is
    /// never worth a request.
    fn cuts_drains(&self, from: usize, to: usize, now: Instant) -> bool {
        let slots = from.min(to) + 1..=from.max(to);
        let finishes = |member: &Member| {
            slots.contains(&(member.id.0 as usize)) && member.finishes(&self.settings.limits, now)
        };
        (to < from || self.settings.mode == ReloadMode::OneByOne) && self.members.iter().any(finishes)
    }

    /// Why there cannot be `to` workers, if there cannot.
    pub(super) fn out_of_range(&self, to: usize) -> Option<String> {
        let most = self.settings.max_workers;
        match self.settings.range {
            Some(range) if !range.contains(to) && !seeded(Bug::ScalesBeyondRange) => {
                Some(format!("{to} is not within the range of --workers, {range}"))
            }
            _ if to > most => Some(format!("{to} workers find no room; {most} is the most")),
            _ => None,
        }
    }

    /// How many workers a process is told that there are: where the load chooses the number,
    /// the most that there may be, so that what is divided by it is enough for all of them
    /// however many there are later.
    pub(super) fn workers_told(&self) -> usize {
        self.settings.range.map_or_else(|| self.workers_after(), |range| range.max)
    }
}

impl ScaleRange {
    /// May there be so many workers?
    pub fn contains(self, workers: usize) -> bool {
        (self.min..=self.max).contains(&workers)
    }
}

impl std::fmt::Display for ScaleRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}..{}", self.min, self.max)
    }
}
