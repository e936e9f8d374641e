//! What must hold after each step.

use shared_protocol::{Generation, WorkerId};

use crate::gate::LOOK;
use crate::phase::Escalation;
use crate::rollout::{ActiveRollout, Stage};

use super::{Hand, LIMITS, Question, Running, Step, World};
use crate::{ClusterEvent, Effect, Health, Member, Phase, RequestId, Role, RolloutKind};

impl World {
    /// Probes alone never take the whole cluster down.
    pub(super) fn check_ejection(&mut self, worker: WorkerId, generation: Generation) -> Result<(), String> {
        let others = self.running.iter().filter(|running| running.published);
        let others = others.filter(|running| running.generation != generation);
        let is_serving = |running: &Running| running.generation == generation && running.serves;
        let serves = self.running.iter().any(is_serving);
        let answers = others.clone().any(|running| running.healthy) || !serves;
        if !answers && !self.ejected.is_empty() {
            return Err(format!("worker {worker} is taken out while another is and nobody answers"));
        }
        let hung = self.running.iter_mut().find(|running| running.generation == generation);
        hung.into_iter().for_each(|running| running.hung = true);
        if serves {
            self.ejected.push(worker);
        }
        Ok(())
    }

    /// Who asks for one more gets one more than there are when it begins, so that those
    /// who ask at the same time add up.
    pub(super) fn check_relative(
        &self,
        requester: Option<RequestId>,
        workers: usize,
        to: usize,
    ) -> Result<(), String> {
        let asked = self.asked.iter().find(|(asking, _)| Some(*asking) == requester);
        match asked {
            Some((_, by)) if by.resolve(workers) != to => {
                Err(format!("{to} begin, though {by:?} workers was asked for where there are {workers}"))
            }
            _ => Ok(()),
        }
    }

    /// Nobody is taken for hung who may be busy.
    pub(super) fn check_verdict(&self, worker: WorkerId, generation: Generation) -> Result<(), String> {
        let Some(running) = self.running.iter().find(|running| running.generation == generation) else {
            return Ok(());
        };
        let still = self.now.saturating_duration_since(running.heard);
        let is_hung = match running.hand {
            // A candidate that stands by has nothing in hand, and others wait for it.
            Hand::Nothing => !running.serves || still >= LIMITS.hang / 2,
            Hand::Moving | Hand::Clients => false,
            Hand::Still | Hand::Full => still >= LIMITS.hang,
        };
        if is_hung && running.misses >= LIMITS.fall {
            return Ok(());
        }
        let (hand, misses) = (running.hand, running.misses);
        Err(format!(
            "worker {worker} is taken for hung with {hand:?} in hand, {misses} misses, still for {still:?}"
        ))
    }

    /// Whoever has just been found to stand still for too long is replaced, while
    /// another answers.
    pub(super) fn check_stalled(&self, of: Generation) -> Result<(), String> {
        let found = self.running.iter().find(|running| running.generation == of && running.serves);
        let Some(running) = found else { return Ok(()) };
        let still = self.now.saturating_duration_since(running.heard);
        let is_stalled = matches!(running.hand, Hand::Still | Hand::Full)
            && running.misses >= LIMITS.fall
            && still >= LIMITS.hang;
        let others = self.running.iter().filter(|other| other.published && other.healthy);
        if is_stalled && others.count() > 0 {
            return Err(format!("worker {} has stood still for {still:?} and is kept", running.worker));
        }
        Ok(())
    }

    /// Somebody is in turn while anybody is online, and who answers is.
    fn check_turns(&self) -> Result<(), String> {
        let members = self.fleet.members().iter().filter(|member| member.role == Role::Current);
        let turns: Vec<_> = members.filter_map(|member| Some((member.id, member.phase.turn()?))).collect();
        if !turns.is_empty() && !turns.iter().any(|(_, (_, in_turn))| *in_turn) {
            return Err("nobody is in turn though some are online".to_owned());
        }
        let answers = |health: &Health| health.misses() < LIMITS.fall;
        match turns.iter().find(|(_, (health, in_turn))| answers(health) && !in_turn) {
            Some((id, _)) => Err(format!("worker {id} answers and is out of turn")),
            None => Ok(()),
        }
    }

    /// Who serves goes on serving unless there is a reason.
    pub(super) fn check_withdrawals(&self, step: Step, effects: &[Effect]) -> Result<(), String> {
        let shared = matches!(step, Step::Stop(_) | Step::Kill)
            || effects.iter().any(|effect| {
                let Effect::Announce { event, .. } = effect else { return false };
                matches!(
                    event,
                    ClusterEvent::Switched { .. }
                        | ClusterEvent::RolloutBegan { kind: RolloutKind::Shrink { .. }, .. }
                        | ClusterEvent::Autoscaled { .. }
                )
            });
        for effect in effects {
            let Effect::Withdraw(of) = effect else { continue };
            if !shared && !is_out(effects, *of) && step.subject() != Some(*of) {
                return Err(format!("process {of} is withdrawn without a reason"));
            }
        }
        Ok(())
    }

    /// A step that the load asks for begins only where there was no rollout `before`, and
    /// takes no time from who finishes what it has.
    pub(super) fn check_step(&self, before: Option<RolloutKind>, effects: &[Effect]) -> Result<(), String> {
        let is_step = |effect: &Effect| {
            matches!(effect, Effect::Announce { event: ClusterEvent::Autoscaled { .. }, .. })
        };
        if !effects.iter().any(is_step) {
            return Ok(());
        }
        let cut = effects.iter().find_map(|effect| match effect {
            Effect::Announce { event: ClusterEvent::DrainCutShort { generation, .. }, .. } => {
                Some(generation)
            }
            _ => None,
        });
        match (before, cut) {
            (Some(kind), _) => Err(format!("a step begins beside {kind:?}")),
            (None, Some(of)) => Err(format!("a step cuts the drain of process {of} short")),
            (None, None) => Ok(()),
        }
    }

    /// There are never more or fewer workers than the range allows.
    fn check_range(&self) -> Result<(), String> {
        let workers = self.fleet.workers();
        match self.fleet.settings.range {
            Some(range) if !range.contains(workers) => {
                Err(format!("{workers} workers are not within {range}"))
            }
            _ => Ok(()),
        }
    }

    /// At the end of its drain a process has nothing more in hand.
    pub(super) fn check_drains(&self, step: Step, effects: &[Effect]) -> Result<(), String> {
        let is_cut_short = |of: Generation| {
            effects.iter().any(|effect| {
                let Effect::Announce { event, .. } = effect else { return false };
                matches!(event, ClusterEvent::DrainCutShort { generation, .. } if *generation == of)
            })
        };
        let is_due = |of: Generation| {
            step == Step::Deadline && effects.contains(&Effect::Terminate(of)) && !is_cut_short(of)
        };
        let mut due = self.running.iter().filter(|running| running.drains && is_due(running.generation));
        match due.find(|running| !running.closed) {
            Some(running) => Err(format!("process {} keeps what it has after its drain", running.generation)),
            None => Ok(()),
        }
    }

    /// Nobody has more time than the stop gives.
    pub(super) fn check_stop(&self, step: Step) -> Result<(), String> {
        let Step::Stop(long_lived) = step else { return Ok(()) };
        let last = self.now + long_lived + LIMITS.kill;
        let late = |member: &&Member| matches!(member.phase, Phase::Stopping { escalation: Escalation::KillAt(at), .. } if at > last);
        match self.fleet.members().iter().find(late) {
            Some(member) => Err(format!("worker {} has more time than the stop", member.id)),
            None => Ok(()),
        }
    }

    /// A slot has one process at most that finishes what it has, and no candidate waits for it.
    fn check_room(&self) -> Result<(), String> {
        let (members, limits) = (self.fleet.members(), &self.fleet.settings.limits);
        let finishing = members.iter().filter(|member| member.finishes(limits, self.now));
        let mut ids: Vec<_> = finishing.map(|member| member.id).collect();
        ids.sort_unstable();
        if let Some(pair) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("two processes of worker {} drain at the same time", pair[0]));
        }
        let Some(ActiveRollout { stage: Stage::Starting(plan), .. }) = &self.fleet.rollout else {
            return Ok(());
        };
        let Some(next) = plan.next().filter(|_| self.fleet.gate_admits()) else { return Ok(()) };
        let has_time = |member: &Member| {
            let kill_at = member.phase.deadline().filter(|_| member.phase.is_ending());
            member.role == Role::Retiring && kill_at.is_some_and(|at| at > self.now + LIMITS.kill)
        };
        let mut others = members.iter().filter(|member| member.id == next && member.role != Role::Current);
        if others.clone().count() > 0 && others.all(has_time) {
            return Err(format!("a candidate of worker {next} waits for connections"));
        }
        Ok(())
    }

    /// A rollout that is refused or fails before its switch changes nothing.
    pub(super) fn check_failures(
        &self,
        step: Step,
        effects: &[Effect],
        before: &[Generation],
    ) -> Result<(), String> {
        let failed = effects.iter().any(|effect| {
            let Effect::Announce { event, .. } = effect else { return false };
            event.is_final()
                && !matches!(event, ClusterEvent::RolloutDone { .. } | ClusterEvent::DrainDone { .. })
        });
        let began = |effect: &Effect| {
            let Effect::Announce { event, .. } = effect else { return false };
            matches!(event, ClusterEvent::RolloutBegan { .. } | ClusterEvent::Switched { .. })
        };
        if !failed || matches!(step, Step::Stop(_) | Step::Kill) || effects.iter().any(began) {
            return Ok(());
        }
        let stays = |of: Generation| {
            step.subject() == Some(of) || is_out(effects, of) || self.published().contains(&of)
        };
        if before.iter().all(|&of| stays(of)) {
            return Ok(());
        }
        Err(format!("a failed rollout has cost one of {before:?}"))
    }

    /// Counts the failure of a slot of which no process has been ready, if this step is one.
    pub(super) fn count_failure(&mut self, step: Step) {
        let failed = match (step, self.questions.front()) {
            (Step::Answer(false), Some(&Question::Launch(of))) | (Step::Exited(of), _) => of,
            _ => return,
        };
        let Some(most) = self.fleet.settings.give_up_after else { return };
        let is_it = |member: &&Member| member.role == Role::Current && member.generation() == Some(failed);
        let is_it = |member: &&Member| is_it(member) && !member.phase.is_being_replaced();
        if let Some(member) = self.fleet.members().iter().find(is_it) {
            let failures = self.failures.entry(member.id).or_default();
            *failures = most.min(*failures + 1);
        }
    }

    /// The first slot that has not failed often enough for the cluster to give up.
    fn hopeful(&self, tries: u32) -> Option<WorkerId> {
        let current = self.fleet.members().iter().filter(|member| member.role == Role::Current);
        let mut ids = current.map(|member| member.id);
        ids.find(|id| self.failures.get(id).is_none_or(|&failures| failures < tries))
    }

    /// A cluster gives up only when no worker was ever ready and each slot has failed.
    pub(super) fn check_end(&self, tries: u32) -> Result<(), String> {
        if self.is_upgrading {
            return Err("gives up during an upgrade".to_owned());
        }
        if self.any_ready {
            return Err("gives up though a worker has been ready".to_owned());
        }
        let Some(id) = self.hopeful(tries) else { return Ok(()) };
        Err(format!("gives up though worker {id} has not failed {tries} times"))
    }

    /// An upgrade begins beside nothing else.
    pub(super) fn begin_upgrade(&mut self, result: Result<(), &'static str>) -> Result<(), String> {
        let beside = self.fleet.rollout.as_ref().map(|rollout| format!("{:?}", rollout.kind));
        let beside = beside.or_else(|| self.fleet.is_stopping().then(|| "the stop".to_owned()));
        let beside = beside.or_else(|| self.is_upgrading.then(|| "another one".to_owned()));
        match (result, beside) {
            (Ok(()), Some(other)) => Err(format!("an upgrade begins beside {other}")),
            (Err(why), None) => Err(format!("an upgrade is refused for nothing: {why}")),
            (result, _) => {
                self.is_upgrading |= result.is_ok();
                Ok(())
            }
        }
    }

    /// Nothing else begins until it is over.
    fn check_upgrade(&self) -> Result<(), String> {
        match &self.fleet.rollout {
            Some(rollout) if self.is_upgrading => Err(format!("{:?} begins during an upgrade", rollout.kind)),
            _ => Ok(()),
        }
    }

    pub(super) fn check_state(&self) -> Result<(), String> {
        if let Some(tries) = self.fleet.settings.give_up_after
            && !(self.any_ready || self.is_upgrading || self.fleet.is_stopping())
            && self.hopeful(tries).is_none()
        {
            return Err(format!("each slot has failed {tries} times and the cluster goes on"));
        }
        let published = self.running.iter().filter(|running| running.published);
        let mut ids: Vec<_> = published.map(|running| running.worker).collect();
        ids.sort_unstable();
        if let Some(pair) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("two processes of worker {} are published", pair[0]));
        }
        let drains = |running: &&Running| {
            running.retired && !(running.terminated || running.killed || running.leaving)
        };
        let mut draining: Vec<_> = self.running.iter().filter(drains).map(|running| running.worker).collect();
        draining.sort_unstable();
        if let Some(pair) = draining.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("two processes of worker {} drain at the same time", pair[0]));
        }
        for member in self.fleet.members() {
            let served = member
                .generation()
                .and_then(|generation| self.running.iter().find(|running| running.generation == generation));
            let is_online = matches!(member.phase, Phase::Online { in_turn: true, .. });
            if is_online != served.is_some_and(|running| running.published) {
                return Err(format!("worker {} is published or online, but not both", member.id));
            }
        }
        self.check_upgrade()?;
        self.check_range()?;
        self.check_room()?;
        self.check_turns()?;
        let waits = self.fleet.members().iter().find(|member| member.is_at_gate());
        match waits {
            Some(member) if self.fleet.next_deadline().is_none_or(|look| look > self.now + LOOK) => {
                Err(format!("worker {} waits at the gate and nobody looks", member.id))
            }
            _ => Ok(()),
        }
    }
}

/// Was this process taken out because of its probes?
fn is_out(effects: &[Effect], of: Generation) -> bool {
    effects.iter().any(|effect| {
        let Effect::Announce { event, .. } = effect else { return false };
        match event {
            ClusterEvent::Hung { generation, .. } | ClusterEvent::OutOfTurn { generation, .. } => {
                *generation == of
            }
            ClusterEvent::TakenDown { generation, .. } => *generation == Some(of),
            _ => false,
        }
    })
}
