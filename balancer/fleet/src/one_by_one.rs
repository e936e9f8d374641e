//! Rollouts that go from one worker to the next: each ends before its successor starts in
//! its slot, for programs with something of their own for each `WORKER_ID` (a port, a lock, a
//! pid file), and for machines without memory for twice the workers. At most one worker
//! is down because of it. The first successor that fails ends the rollout: its slot goes
//! on as it was before, and those that were replaced stay.

use std::time::{Duration, Instant};

use shared_protocol::{Generation, ReloadMode, WorkerId};

use super::limits::Limits;
use super::member::{Member, Role};
use super::rollout::{ActiveRollout, RolloutKind, Stage};
use super::seeded::{Bug, seeded};
use super::succession::{Down, Turns};
use super::{ClusterEvent, Fleet, Left};

/// Time over which long-lived connections end where no other worker could take them:
/// to spread them over longer would only keep everybody waiting.
const ALONE: Duration = Duration::from_secs(1);

impl Fleet {
    /// How workers are replaced now.
    fn mode(&self) -> ReloadMode {
        self.rollout.as_ref().map_or(self.settings.mode, |rollout| rollout.mode)
    }

    /// May the next process of this member be started? A slot has one process at a time
    /// where workers are replaced one by one.
    pub(super) fn has_slot_to_itself(&self, index: usize) -> bool {
        let id = self.members[index].id;
        let alone = || self.members.iter().filter(|member| member.id == id).count() == 1;
        self.mode() == ReloadMode::All || seeded(Bug::StartsBesideOld) || alone()
    }

    /// The worker that is being replaced, if one is.
    fn down(&self) -> Option<Down> {
        self.rollout.as_ref()?.down()
    }

    /// Is this the worker that is being replaced?
    pub(super) fn is_down(&self, worker: WorkerId) -> bool {
        self.down().is_some_and(|down| down.worker == worker)
    }

    /// Does no other worker serve than this one?
    pub(super) fn is_alone(&self, worker: WorkerId) -> bool {
        !self.current().any(|member| member.id != worker && member.phase.is_online())
    }

    /// The deadlines of this worker while it drains.
    pub(super) fn drain_limits(&self, worker: WorkerId) -> Limits {
        let mut limits = self.settings.limits;
        if self.is_down(worker) && self.is_alone(worker) {
            limits.stream_drain = Some(limits.stream_drain.map_or(ALONE, |limit| limit.min(ALONE)));
        }
        limits
    }

    /// One step of such a rollout. `false` when there is nothing to do.
    pub(super) fn take_turn(&mut self, now: Instant) -> bool {
        let Some(ActiveRollout { stage: Stage::OneByOne(turns), .. }) = &self.rollout else { return false };
        if let Some(Down { worker, .. }) = turns.down() {
            let is_back = self.current().any(|member| member.id == worker && member.phase.is_online());
            if is_back || seeded(Bug::TakesTwoDown) {
                self.note_new(worker);
            }
            return is_back || seeded(Bug::TakesTwoDown);
        }
        match self.next_turn(turns) {
            Some(worker) => self.take_down(worker, now),
            None => self.complete(now),
        }
        true
    }

    /// Workers that do not serve come first, as nothing is lost with them. So whoever is
    /// stopped is never the last one to serve, if there are more: the others serve when a
    /// rollout begins, and later the one before does.
    fn next_turn(&self, turns: &Turns) -> Option<WorkerId> {
        let serves = |id: WorkerId| self.current().any(|member| member.id == id && member.phase.is_online());
        turns.waiting.iter().find(|&&id| !serves(id)).or_else(|| turns.waiting.front()).copied()
    }

    fn take_down(&mut self, worker: WorkerId, now: Instant) {
        let is_it = |member: &Member| member.role == Role::Current && member.id == worker;
        let Some(index) = self.members.iter().position(is_it) else { return };
        let before = self.members[index].release;
        let Some(ActiveRollout { stage: Stage::OneByOne(turns), .. }) = &mut self.rollout else { return };
        turns.waiting.retain(|&waiting| waiting != worker);
        turns.down = Some(Down { worker, before });
        let (place, of) = (turns.new.len() + 1, turns.of());
        let (generation, alone) = (self.members[index].generation(), self.is_alone(worker));
        self.cut_drains_short(worker, now);
        let limits = self.drain_limits(worker);
        let effects = self.members[index].replace(&limits, now);
        let within = (limits.drain, limits.long_lived(limits.drain));
        let event = ClusterEvent::TakenDown { worker, generation, place, of, within, alone };
        self.announce(event, self.requester());
        self.effects.extend(effects);
    }

    /// The successor of this worker serves.
    fn note_new(&mut self, worker: WorkerId) {
        let Some(ActiveRollout { stage: Stage::OneByOne(turns), .. }) = &mut self.rollout else { return };
        turns.down = None;
        if seeded(Bug::ReplacesTwice) && turns.new.is_empty() {
            turns.waiting.push_back(worker);
        }
        turns.new.push(worker);
    }

    fn complete(&mut self, now: Instant) {
        let Some(rollout) = self.rollout.take() else { return };
        if let Some(release) = rollout.release {
            self.adopt_release(release);
        }
        self.finish(rollout, Vec::new(), now);
    }

    /// Ends the rollout under way if this is the successor of a worker that is being
    /// replaced, and has failed.
    pub(super) fn check_successor(&mut self, index: usize, generation: Generation, why: &str, now: Instant) {
        let member = &self.members[index];
        let is_it = member.role == Role::Current && self.is_down(member.id);
        if is_it && member.phase.has_failed_to_start() && !seeded(Bug::GoesOnAfterFailure) {
            self.fail_rollout(format!("worker {}: {why}", member.id), Some(generation), now);
        }
    }

    /// What such a rollout leaves that ends early: whoever was down goes on as before.
    pub(super) fn leave(&mut self, rollout: &ActiveRollout) -> Left {
        let Stage::OneByOne(turns) = &rollout.stage else { return Left::AsBefore };
        if let Some(Down { worker, before }) = turns.down()
            && !seeded(Bug::KeepsFailedRelease)
        {
            let is_it = |member: &&mut Member| member.role == Role::Current && member.id == worker;
            self.members.iter_mut().filter(is_it).for_each(|member| member.release = before);
        }
        turns.left()
    }

    /// May this worker, which has reached a limit, be replaced now? One by one that would
    /// leave nobody if it is the last one that serves and others are on their way.
    pub(super) fn may_recycle(&self, worker: WorkerId) -> bool {
        let is_safe = self.workers() == 1 || !self.is_alone(worker);
        self.settings.mode == ReloadMode::All || is_safe || seeded(Bug::LeavesNobody)
    }

    /// Replaces this worker, which has reached a limit.
    pub(super) fn recycle(&mut self, worker: WorkerId, kind: RolloutKind, now: Instant) {
        let mode = self.settings.mode;
        self.begin_rollout(kind, mode, Stage::replacing(mode, [worker]), None, now);
    }
}
