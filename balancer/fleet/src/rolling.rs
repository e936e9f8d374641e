//! Rollouts, from the command to the final answer. Never are there more than two
//! processes of a slot: a rollout is over when the last process that it has retired
//! is gone, and a candidate starts only where none of a failed rollout is left.

use std::time::Instant;

use shared_protocol::{Generation, ReleaseChanges, WorkerId};

use super::member::Role;
use super::recycle::RETRY;
use super::rollout::{ActiveRollout, Plan, QUEUED_SCALES, RolloutKind, Stage};
use super::seeded::{Bug, seeded};
use super::{ClusterEvent, Effect, Fleet, Member, RequestId, ScaleTo};

impl Fleet {
    pub(super) fn reload(&mut self, requester: Option<RequestId>, now: Instant) {
        match self.refusal() {
            None => {
                self.set_rollout(RolloutKind::Reload, Stage::Opening, requester, now);
                self.effects.push(Effect::OpenRelease);
            }
            Some(why) if requester.is_some() || self.is_stopping() => {
                self.announce(ClusterEvent::ReloadRefused { why: why.to_owned() }, requester);
            }
            Some(_) => {
                self.queued.reload = !seeded(Bug::LosesQueued);
                self.announce(ClusterEvent::ReloadQueued, None);
            }
        }
    }

    pub(super) fn on_release_opened(&mut self, result: Result<ReleaseChanges, String>, now: Instant) {
        let Some(ActiveRollout { kind, requester, stage: Stage::Opening, .. }) = self.rollout else {
            self.effects.push(Effect::DiscardRelease);
            return;
        };
        let changes = match result {
            Ok(changes) => changes,
            Err(why) => {
                self.rollout = None;
                self.announce(ClusterEvent::ReleaseNotOpened { why }, requester);
                return;
            }
        };
        let ids: Vec<_> = self.current().map(|member| member.id).collect();
        self.announce(ClusterEvent::RolloutBegan { kind, workers: ids.len() }, requester);
        if !changes.is_empty() && !seeded(Bug::KeepsChangesQuiet) {
            self.announce(ClusterEvent::ReleaseChanged { changes }, requester);
        }
        self.start_rollout(kind, ids, requester, now);
    }

    pub(super) fn scale(&mut self, to: ScaleTo, requester: Option<RequestId>, now: Instant) {
        let (workers, most) = (self.workers(), self.settings.max_workers);
        let why = match (self.refusal(), to) {
            (Some(why), _) if self.is_stopping() => why.to_owned(),
            (Some(why), to) if requester.is_some() => match self.queue_requested(to, requester) {
                true => return,
                false => why.to_owned(),
            },
            (Some(_), ScaleTo::More(more)) => {
                return self.queue_scale(|by| by.saturating_add_unsigned(more));
            }
            (Some(_), ScaleTo::Fewer(fewer)) => {
                return self.queue_scale(|by| by.saturating_sub_unsigned(fewer));
            }
            (Some(why), ScaleTo::Exactly(_)) => why.to_owned(),
            (None, to) => match (to.resolve(workers), to) {
                (0, ScaleTo::Fewer(fewer)) => {
                    format!(
                        "there are {workers}, and {fewer} fewer would leave none; a cluster has at least one worker"
                    )
                }
                (0, _) => "a cluster has at least one worker".to_owned(),
                (to, _) if to > most => format!("{to} workers find no room; {most} is the most"),
                (to, _) => return self.begin_scale(workers, to, requester, now),
            },
        };
        self.announce(ClusterEvent::ScaleRefused { workers, why }, requester);
    }

    fn queue_scale(&mut self, change: impl FnOnce(isize) -> isize) {
        self.queued.scale_by = change(self.queued.scale_by);
        self.announce(ClusterEvent::ScaleQueued, None);
    }

    /// Lets a relative change wait for its turn, as its outcome does not depend on what
    /// is under way: several that are asked for at the same time add up. Says whether it
    /// does. An absolute number may be out of date by then.
    fn queue_requested(&mut self, to: ScaleTo, requester: Option<RequestId>) -> bool {
        let Some(requester) = requester else { return false };
        if matches!(to, ScaleTo::Exactly(_)) || self.queued.scales.len() >= QUEUED_SCALES {
            return false;
        }
        let to = if seeded(Bug::ResolvesEarly) { ScaleTo::Exactly(to.resolve(self.workers())) } else { to };
        self.queued.scales.push_back((to, requester));
        self.announce(ClusterEvent::ScaleQueued, Some(requester));
        true
    }

    /// Tells those whose changes wait that nothing comes of them any more.
    pub(super) fn refuse_queued(&mut self, why: &str) {
        let (workers, queued) = (self.workers(), std::mem::take(&mut self.queued));
        for (_, requester) in queued.scales.into_iter().filter(|_| !seeded(Bug::StopForgetsQueued)) {
            self.announce(ClusterEvent::ScaleRefused { workers, why: why.to_owned() }, Some(requester));
        }
    }

    fn begin_scale(&mut self, workers: usize, to: usize, requester: Option<RequestId>, now: Instant) {
        if to > workers {
            let kind = RolloutKind::Grow { to };
            self.announce(ClusterEvent::RolloutBegan { kind, workers }, requester);
            let new = (1..).map(WorkerId).skip(workers).take(to - workers);
            return self.start_rollout(kind, new, requester, now);
        }
        let kind = RolloutKind::Shrink { to };
        self.announce(ClusterEvent::RolloutBegan { kind, workers }, requester);
        self.set_rollout(kind, Stage::Draining, requester, now);
        for index in 0..self.members.len() {
            let member = &self.members[index];
            if member.role == Role::Current && member.id.0 as usize > to {
                self.retire(index, now);
            }
        }
    }

    /// Why no rollout can begin now.
    pub(super) fn refusal(&self) -> Option<&'static str> {
        if self.is_stopping() {
            return Some("the cluster is stopping");
        }
        Some(match self.rollout.as_ref()?.kind {
            RolloutKind::Reload => "a reload is under way; try again when it is done",
            RolloutKind::Grow { .. } | RolloutKind::Shrink { .. } => {
                "the cluster is being scaled; try again when that is done"
            }
            RolloutKind::Recycle(_) => "a worker is being replaced; try again in a moment",
        })
    }

    /// Begins to start candidates.
    pub(super) fn start_rollout(
        &mut self,
        kind: RolloutKind,
        candidates: impl IntoIterator<Item = WorkerId>,
        requester: Option<RequestId>,
        now: Instant,
    ) {
        self.set_rollout(kind, Stage::Starting(Plan::new(candidates)), requester, now);
    }

    /// A rollout enters a stage; when it began is known from its first one.
    fn set_rollout(&mut self, kind: RolloutKind, stage: Stage, requester: Option<RequestId>, now: Instant) {
        let began = self.rollout.as_ref().map_or(now, |rollout| rollout.began);
        self.rollout = Some(ActiveRollout { kind, requester, began, stage });
    }

    /// Who waits for the rollout under way, if somebody does.
    pub fn requester(&self) -> Option<RequestId> {
        self.rollout.as_ref()?.requester
    }

    /// How many workers there will be when the rollout under way has succeeded.
    pub(super) fn workers_after(&self) -> usize {
        match self.rollout {
            Some(ActiveRollout { kind: RolloutKind::Grow { to }, .. }) => to,
            _ => self.workers(),
        }
    }

    /// Does what is next, as long as something is.
    pub(super) fn advance(&mut self, now: Instant) {
        loop {
            self.members.retain(|member| !member.is_over());
            if self.is_stopping() || !self.step(now) {
                return;
            }
        }
    }

    /// One step of the rollout under way, or of the next one. `false` when there is
    /// nothing to do.
    fn step(&mut self, now: Instant) -> bool {
        let admitted = self.gate_admits();
        let members = &self.members;
        match self.rollout.as_mut().map(|rollout| &mut rollout.stage) {
            None => self.begin_queued(now),
            Some(Stage::Opening) => false,
            Some(Stage::Starting(plan)) => {
                // One of a failed rollout may still be on its way out.
                let has_room = |id| {
                    let is_other = |member: &Member| member.id != id || member.role == Role::Current;
                    admitted && (seeded(Bug::StartsBesideAbandoned) || members.iter().all(is_other))
                };
                if let Some(id) = plan.start_next(has_room) {
                    self.members.push(Member::new(id, Role::Candidate, now));
                    self.start(self.members.len() - 1, now);
                    true
                } else {
                    let complete = plan.is_complete();
                    if complete {
                        self.switch(now);
                    }
                    complete
                }
            }
            Some(Stage::Draining) => {
                let retiring = members.iter().any(|member| member.role == Role::Retiring);
                if !retiring || seeded(Bug::DoneWhileDraining) {
                    self.finish(now);
                }
                !retiring
            }
        }
    }

    /// Begins what was asked for during the last rollout.
    fn begin_queued(&mut self, now: Instant) -> bool {
        let by = std::mem::take(&mut self.queued.scale_by);
        if by != 0 {
            let amount = by.unsigned_abs();
            let to = if by > 0 { ScaleTo::More(amount) } else { ScaleTo::Fewer(amount) };
            self.scale(to, None, now);
            return true;
        }
        if let Some((to, requester)) = self.queued.scales.pop_front() {
            self.scale(to, Some(requester), now);
            return true;
        }
        let reload = std::mem::take(&mut self.queued.reload);
        if reload {
            self.reload(None, now);
        }
        reload
    }

    /// All candidates are ready: each takes over, and its predecessor retires.
    fn switch(&mut self, now: Instant) {
        let Some(rollout) = &mut self.rollout else { return };
        rollout.stage = Stage::Draining;
        let ActiveRollout { kind, requester, .. } = *rollout;
        if kind == RolloutKind::Reload {
            self.effects.push(Effect::AdoptRelease);
        }
        let is_candidate = |&index: &usize| self.members[index].role == Role::Candidate;
        let candidates: Vec<_> = (0..self.members.len()).filter(is_candidate).collect();
        self.announce(ClusterEvent::Switched { kind, candidates: candidates.len() }, requester);
        if seeded(Bug::AnswersAtSwitch) {
            let (workers, after) = (self.workers(), std::time::Duration::ZERO);
            self.announce(ClusterEvent::RolloutDone { kind, workers, after }, requester);
        }
        for index in candidates {
            self.take_over(index, kind, now);
        }
    }

    fn take_over(&mut self, index: usize, kind: RolloutKind, now: Instant) {
        let worker = self.members[index].id;
        let is_old = |member: &Member| member.role == Role::Current && member.id == worker;
        let old = self.members.iter().position(is_old);
        let history = old.map(|old| self.members[old].history);
        let budget = self.budget(index, now);
        let effects = self.members[index].promote(history, budget, now);
        self.effects.extend(effects);
        if let Some(&process) = self.members[index].phase.process() {
            let after = now.saturating_duration_since(process.launched);
            let (generation, replaces) = (process.generation, kind.replaces());
            self.effects.push(Effect::Protect(generation));
            self.announce(ClusterEvent::Online { worker, generation, after, replaces }, None);
        }
        if let Some(old) = old
            && !seeded(Bug::SwitchKeepsOld)
        {
            self.retire(old, now);
        }
    }

    fn retire(&mut self, index: usize, now: Instant) {
        let member = &mut self.members[index];
        let (worker, generation) = (member.id, member.generation());
        let effects = member.retire(&self.settings.limits, now);
        if let Some(generation) = generation {
            self.announce(ClusterEvent::Draining { worker, generation }, self.requester());
        }
        self.effects.extend(effects);
    }

    /// Ends the rollout under way. Before its switch nothing of it was to be seen,
    /// and its candidates go.
    pub(super) fn fail_rollout(&mut self, why: String, culprit: Option<Generation>, now: Instant) {
        let Some(ActiveRollout { kind, requester, stage, .. }) = self.rollout.take() else { return };
        let switched = matches!(stage, Stage::Draining);
        for index in 0..self.members.len() {
            if self.members[index].role == Role::Candidate {
                self.members[index].role = Role::Abandoned;
                self.give_up(index, now);
            } else if seeded(Bug::FailureStopsCurrent) && !self.is_stopping() {
                self.give_up(index, now);
            }
        }
        if kind == RolloutKind::Reload && !switched {
            self.effects.push(Effect::DiscardRelease);
        }
        if let RolloutKind::Recycle(_) = kind {
            self.recycle.next = now + RETRY;
        }
        let forgotten = seeded(Bug::StopForgetsRequester) && why == "the cluster is stopping";
        let requester = if forgotten { None } else { requester };
        self.announce(ClusterEvent::RolloutFailed { kind, switched, why, culprit }, requester);
    }

    fn finish(&mut self, now: Instant) {
        let Some(ActiveRollout { kind, requester, began, .. }) = self.rollout.take() else { return };
        if let RolloutKind::Recycle(_) = kind {
            // The next worker may be waiting for its turn.
            self.recycle.next = now;
        }
        let (workers, after) = (self.workers(), now.saturating_duration_since(began));
        self.announce(ClusterEvent::RolloutDone { kind, workers, after }, requester);
    }

    /// Are all processes online, and is nothing under way?
    #[cfg(test)]
    pub(super) fn is_settled(&self) -> bool {
        let online = |member: &Member| matches!(member.phase, super::Phase::Online { in_turn: true, .. });
        self.rollout.is_none()
            && self.queued == super::rollout::Queued::default()
            && self.members.iter().all(online)
    }
}
