//! Rollouts, from the command to the switch, with which they are over: those that are
//! replaced finish what they have in the background. Never are there more than three
//! processes of a slot: one that serves, one that was retired and has time for what it has,
//! and one that starts or has no more time than any process has to end.

use std::time::Instant;

use shared_protocol::{Generation, ReleaseChanges, ReleaseId, ReloadMode, WorkerId};

use super::member::Role;
use super::recycle::RETRY;
use super::rollout::{ActiveRollout, AwaitedDrain, Plan, QUEUED_SCALES, RolloutKind, Stage};
use super::seeded::{Bug, seeded};
use super::upgrade::UPGRADING;
use super::{ClusterEvent, Effect, Fleet, Member, RequestId, Requester, STOPPING, ScaleTo};

impl Fleet {
    pub(super) fn reload(&mut self, mode: Option<ReloadMode>, requester: Option<Requester>, now: Instant) {
        match self.refusal() {
            None => {
                let mode = mode.unwrap_or(self.settings.mode);
                self.begin_rollout(RolloutKind::Reload, mode, Stage::Opening, requester, now);
                let release = self.releases.next();
                if let Some(rollout) = &mut self.rollout {
                    rollout.release = Some(release);
                }
                self.effects.push(Effect::OpenRelease(release));
            }
            Some(why) if requester.is_some() || self.turns_all_down() => {
                self.answer(ClusterEvent::ReloadRefused { why: why.to_owned() }, requester);
            }
            Some(_) => {
                self.queued.reload = !seeded(Bug::LosesQueued);
                self.announce(ClusterEvent::ReloadQueued, None);
            }
        }
    }

    pub(super) fn on_release_opened(&mut self, result: Result<ReleaseChanges, String>) {
        if result.is_ok() {
            // Let go of at once when the rollout is over.
            self.releases.open.push(self.releases.last);
        }
        let Some(ActiveRollout { kind, mode, requester, stage: Stage::Opening, .. }) = self.rollout else {
            return;
        };
        let changes = match result {
            Ok(changes) => changes,
            Err(why) => {
                self.rollout = None;
                self.answer(ClusterEvent::ReleaseNotOpened { why }, requester);
                return;
            }
        };
        let ids: Vec<_> = self.current().map(|member| member.id).collect();
        self.answer(ClusterEvent::RolloutBegan { kind, mode, workers: ids.len() }, requester);
        if !changes.is_empty() && !seeded(Bug::KeepsChangesQuiet) {
            self.answer(ClusterEvent::ReleaseChanged { changes }, requester);
        }
        if let Some(rollout) = &mut self.rollout {
            rollout.stage = Stage::replacing(mode, ids);
        }
    }

    pub(super) fn scale(&mut self, to: ScaleTo, requester: Option<Requester>, now: Instant) {
        let workers = self.workers();
        let why = match (self.refusal(), to) {
            (Some(why), _) if self.turns_all_down() => why.to_owned(),
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
                (to, _) => match self.out_of_range(to) {
                    Some(why) => why,
                    None => return self.begin_scale(workers, to, requester, now),
                },
            },
        };
        self.answer(ClusterEvent::ScaleRefused { workers, why }, requester);
    }

    /// Does not even what a signal asks for follow later?
    pub(super) fn turns_all_down(&self) -> bool {
        self.is_stopping() || self.is_upgrading
    }

    fn queue_scale(&mut self, change: impl FnOnce(isize) -> isize) {
        self.queued.scale_by = change(self.queued.scale_by);
        self.announce(ClusterEvent::ScaleQueued, None);
    }

    /// Lets a relative change wait for its turn, as its outcome does not depend on what
    /// is under way: several that are asked for at the same time add up. Says whether it
    /// does. An absolute number may be out of date by then.
    fn queue_requested(&mut self, to: ScaleTo, requester: Option<Requester>) -> bool {
        let Some(requester) = requester else { return false };
        if matches!(to, ScaleTo::Exactly(_)) || self.queued.scales.len() >= QUEUED_SCALES {
            return false;
        }
        let to = if seeded(Bug::ResolvesEarly) { ScaleTo::Exactly(to.resolve(self.workers())) } else { to };
        self.queued.scales.push_back((to, requester));
        self.answer(ClusterEvent::ScaleQueued, Some(requester));
        true
    }

    /// Tells those whose changes wait that nothing comes of them any more.
    pub(super) fn refuse_queued(&mut self, why: &str) {
        let (workers, queued) = (self.workers(), std::mem::take(&mut self.queued));
        for (_, requester) in queued.scales.into_iter().filter(|_| !seeded(Bug::StopForgetsQueued)) {
            self.answer(ClusterEvent::ScaleRefused { workers, why: why.to_owned() }, Some(requester));
        }
    }

    fn begin_scale(&mut self, workers: usize, to: usize, requester: Option<Requester>, now: Instant) {
        let kind = if to > workers { RolloutKind::Grow { to } } else { RolloutKind::Shrink { to } };
        self.answer(ClusterEvent::RolloutBegan { kind, mode: self.settings.mode, workers }, requester);
        self.change_number(workers, to, requester, now);
    }

    /// Adds the workers that are missing, or retires those beyond `to`.
    pub(super) fn change_number(
        &mut self,
        workers: usize,
        to: usize,
        requester: Option<Requester>,
        now: Instant,
    ) {
        let mode = self.settings.mode;
        if to > workers {
            let kind = RolloutKind::Grow { to };
            let new: Vec<_> = (1..).map(WorkerId).skip(workers).take(to - workers).collect();
            if mode == ReloadMode::OneByOne {
                // Whoever is on its way out has what its successor needs.
                new.iter().for_each(|&id| self.cut_drains_short(id, now));
            }
            return self.begin_rollout(kind, mode, Stage::Starting(Plan::new(new)), requester, now);
        }
        let kind = RolloutKind::Shrink { to };
        let surplus = |member: &Member| member.role == Role::Current && member.id.0 as usize > to;
        let surplus: Vec<_> = (0..self.members.len()).filter(|&at| surplus(&self.members[at])).collect();
        let retired = surplus.into_iter().filter_map(|index| self.retire(index, requester, now)).collect();
        let (release, stage) = (None, Stage::Opening);
        let rollout = ActiveRollout { kind, mode, requester, began: now, release, stage };
        self.finish(rollout, retired, now);
    }

    /// Why no rollout can begin now.
    pub(super) fn refusal(&self) -> Option<&'static str> {
        if self.is_stopping() {
            return Some(STOPPING);
        }
        if self.is_upgrading && !seeded(Bug::ChangesDuringUpgrade) {
            return Some(UPGRADING);
        }
        Some(match self.rollout.as_ref()?.kind {
            RolloutKind::Reload => "a reload is under way; try again when it is done",
            RolloutKind::Grow { .. } | RolloutKind::Shrink { .. } => {
                "the cluster is being scaled; try again when that is done"
            }
            RolloutKind::Recycle(_) => "a worker is being replaced; try again in a moment",
        })
    }

    pub(super) fn begin_rollout(
        &mut self,
        kind: RolloutKind,
        mode: ReloadMode,
        stage: Stage,
        requester: Option<Requester>,
        now: Instant,
    ) {
        self.rollout = Some(ActiveRollout { kind, mode, requester, began: now, release: None, stage });
    }

    /// Who waits for the rollout under way, if somebody does.
    pub fn requester(&self) -> Option<RequestId> {
        Some(self.rollout.as_ref()?.requester?.id)
    }

    fn answer(&mut self, event: ClusterEvent, requester: Option<Requester>) {
        self.announce(event, requester.map(|requester| requester.id));
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
        let mode = self.rollout.as_ref().map(|rollout| rollout.mode);
        let members = &self.members;
        match self.rollout.as_mut().map(|rollout| &mut rollout.stage) {
            None => self.begin_queued(now),
            Some(Stage::Opening) => false,
            Some(Stage::OneByOne(_)) => self.take_turn(now),
            Some(Stage::Starting(plan)) => {
                let limits = &self.settings.limits;
                let has_room = |id| {
                    let mut others = members.iter().filter(|member| member.id == id);
                    let is_fine = |member: &Member| match mode {
                        // The one that serves is replaced in a way of its own.
                        Some(ReloadMode::OneByOne) => seeded(Bug::StartsBesideOld),
                        _ => member.role == Role::Current || member.finishes(limits, now),
                    };
                    admitted && (seeded(Bug::StartsBesideAbandoned) || others.all(is_fine))
                };
                if let Some(id) = plan.start_next(has_room) {
                    let release = self.release_for(id);
                    self.members.push(Member::new(id, Role::Candidate, release, now));
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
            self.reload(None, None, now);
        }
        reload
    }

    /// All candidates are ready: each takes over, its predecessor retires, and the rollout
    /// is over.
    fn switch(&mut self, now: Instant) {
        let Some(rollout) = self.rollout.take() else { return };
        let ActiveRollout { kind, requester, .. } = rollout;
        if let Some(release) = rollout.release {
            self.adopt_release(release);
        }
        let is_candidate = |&index: &usize| self.members[index].role == Role::Candidate;
        let candidates: Vec<_> = (0..self.members.len()).filter(is_candidate).collect();
        self.answer(ClusterEvent::Switched { kind, candidates: candidates.len() }, requester);
        let take_over = |index| self.take_over(index, kind, requester, now);
        let retired = candidates.into_iter().filter_map(take_over).collect();
        self.finish(rollout, retired, now);
    }

    /// Puts a candidate in the place of the process that serves, which is returned if it
    /// still has something to finish.
    fn take_over(
        &mut self,
        index: usize,
        kind: RolloutKind,
        requester: Option<Requester>,
        now: Instant,
    ) -> Option<Generation> {
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
        let old = old.filter(|_| !seeded(Bug::SwitchKeepsOld))?;
        self.retire(old, requester, now)
    }

    /// The process of this member gets no further requests. Returns it, if there is one.
    fn retire(&mut self, index: usize, requester: Option<Requester>, now: Instant) -> Option<Generation> {
        let worker = self.members[index].id;
        if !seeded(Bug::KeepsOlderDrain) {
            self.cut_drains_short(worker, now);
        }
        let member = &mut self.members[index];
        let generation = member.generation();
        let effects = member.retire(&self.settings.limits, now);
        if let Some(generation) = generation {
            self.answer(ClusterEvent::Draining { worker, generation }, requester);
        }
        self.effects.extend(effects);
        generation
    }

    /// What the next process of this slot is started from as a candidate.
    fn release_for(&self, id: WorkerId) -> ReleaseId {
        let opened = self.rollout.as_ref().and_then(|rollout| rollout.release);
        let own = self.current().find(|member| member.id == id).map(|member| member.release);
        opened.or(own).unwrap_or(self.releases.running)
    }

    /// Ends the rollout under way. Its candidates go, of whom nothing was to be seen.
    pub(super) fn fail_rollout(&mut self, why: String, culprit: Option<Generation>, now: Instant) {
        let Some(rollout) = self.rollout.take() else { return };
        let ActiveRollout { kind, requester, .. } = rollout;
        for index in 0..self.members.len() {
            if self.members[index].role == Role::Candidate {
                self.members[index].role = Role::Abandoned;
                self.give_up(index, now);
            } else if seeded(Bug::FailureStopsCurrent) && !self.is_stopping() {
                self.give_up(index, now);
            }
        }
        let left = self.leave(&rollout);
        if let RolloutKind::Recycle(_) = kind {
            self.recycle.next = now + RETRY;
        }
        let forgotten = seeded(Bug::StopForgetsRequester) && why == STOPPING;
        let requester = requester.filter(|_| !forgotten);
        self.answer(ClusterEvent::RolloutFailed { kind, left, why, culprit }, requester);
    }

    /// A rollout has switched; those that it has `retired` finish what they have.
    pub(super) fn finish(&mut self, rollout: ActiveRollout, retired: Vec<Generation>, now: Instant) {
        let ActiveRollout { kind, requester, began, .. } = rollout;
        if let RolloutKind::Recycle(_) = kind {
            // The next worker may be waiting for its turn.
            self.recycle.next = now;
        }
        let (workers, after) = (self.workers(), now.saturating_duration_since(began));
        let done = ClusterEvent::RolloutDone { kind, workers, retired: retired.clone(), after };
        match requester {
            Some(Requester { id, awaits_drain: true }) if !retired.is_empty() => {
                self.announce(done, Some(id).filter(|_| seeded(Bug::AnswersAtSwitch)));
                self.awaited.push(AwaitedDrain { kind, requester: id, began, retired });
            }
            requester => self.answer(done, requester),
        }
    }

    /// Are all processes online, and is nothing under way?
    #[cfg(test)]
    pub(super) fn is_settled(&self) -> bool {
        let online = |member: &Member| matches!(member.phase, super::Phase::Online { in_turn: true, .. });
        self.rollout.is_none()
            && self.awaited.is_empty()
            && self.queued == super::rollout::Queued::default()
            && self.members.iter().all(online)
    }
}
