//! A slot's process and those that follow it, as a state machine: what happens and
//! a time go in, effects come out. During a rollout two members have the same id:
//! one serves, the other is on trial or on its way out.

use std::time::Instant;

use shared_protocol::{Generation, ReleaseId, WorkerId};

use super::backoff::Backoff;
use super::health::{Hang, Health, Load};
use super::limits::Limits;
use super::phase::{AfterExit, Escalation, Phase, Process, Trouble};
use super::recycle::RecycleBudget;
use super::seeded::{Bug, seeded};
use super::{Effect, Jitter};
use shared_protocol::RestartReason;

/// What a member is to its slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Holds its id and is kept running.
    Current,
    /// On trial for the rollout under way; when it fails it is not tried again.
    Candidate,
    /// Replaced or not wanted any more; the rollout under way waits for its end.
    Retiring,
    /// Was a candidate of a rollout that has failed.
    Abandoned,
}

/// What became of a slot's processes, rollouts apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct History {
    /// Starts after the first one.
    pub restarts: u64,
    /// Why the last of them was necessary.
    pub last_reason: Option<RestartReason>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Member {
    pub id: WorkerId,
    pub role: Role,
    pub phase: Phase,
    pub history: History,
    /// What its process was started from.
    pub release: ReleaseId,
    pub(super) backoff: Backoff,
}

impl Member {
    /// A member whose first process is to be launched.
    pub fn new(id: WorkerId, role: Role, release: ReleaseId, now: Instant) -> Self {
        let (history, backoff) = (History::default(), Backoff::default());
        Self { id, role, phase: Phase::AtGate { since: now, reason: None }, history, release, backoff }
    }

    pub fn generation(&self) -> Option<Generation> {
        self.phase.process().map(|process| process.generation)
    }

    /// The wait before its next start is over.
    pub fn queue_at_gate(&mut self, now: Instant) {
        if let Phase::Backoff { until, reason } = self.phase
            && until <= now
        {
            self.phase = Phase::AtGate { since: now, reason: Some(reason) };
        }
    }

    /// The gate lets it through: its next process is launched.
    pub fn start(&mut self, process: Process, limits: &Limits) {
        if let Phase::AtGate { reason: Some(_), .. } = self.phase {
            self.history.restarts += 1;
        }
        let deadline = process.launched + limits.startup;
        self.phase = Phase::Starting { process, deadline, passes: 0, trouble: Trouble::Silent };
    }

    /// Notes the number that the process has drawn.
    pub fn set_jitter(&mut self, drawn: Jitter) {
        if let Phase::Starting { process, .. } = &mut self.phase {
            process.jitter = drawn;
        }
    }

    /// The process has answered a probe while it had this `load`. `budget` is for the
    /// case that this makes it ready.
    pub fn answered(
        &mut self,
        load: &Load,
        limits: &Limits,
        budget: RecycleBudget,
        now: Instant,
    ) -> Vec<Effect> {
        match &mut self.phase {
            Phase::Online { health, .. } => health.answered(load, now),
            Phase::Standby { misses, heard, .. } => (*misses, *heard) = (0, now),
            Phase::Starting { process, passes, .. } => {
                *passes = passes.saturating_add(1);
                if *passes >= limits.rise {
                    let process = *process;
                    if self.role == Role::Candidate && !seeded(Bug::CandidatePublished) {
                        self.phase = Phase::Standby { process, misses: 0, heard: now };
                        return vec![];
                    }
                    return self.enter(online(process, budget, now));
                }
            }
            Phase::AtGate { .. }
            | Phase::Draining { .. }
            | Phase::Stopping { .. }
            | Phase::Backoff { .. }
            | Phase::Stopped => {}
        }
        vec![]
    }

    /// The process has missed a probe while it had this `load`. Returns why it is hung,
    /// if it is. A candidate that stands by has nothing in hand.
    pub fn missed(&mut self, why: String, load: &Load, limits: &Limits, now: Instant) -> Option<Hang> {
        match &mut self.phase {
            Phase::Online { health, .. } => return health.missed(load, limits, now),
            Phase::Standby { misses, heard, .. } => {
                *misses = misses.saturating_add(1);
                let silent = now.saturating_duration_since(*heard);
                return (*misses >= limits.fall).then_some(Hang::Idle(silent));
            }
            Phase::Starting { passes, trouble, .. } => {
                *passes = 0;
                if !matches!(trouble, Trouble::Reported(_)) {
                    *trouble = Trouble::Unanswered(why);
                }
            }
            Phase::AtGate { .. }
            | Phase::Draining { .. }
            | Phase::Stopping { .. }
            | Phase::Backoff { .. }
            | Phase::Stopped => {}
        }
        None
    }

    /// What the process has in hand was asked for. Returns why it is hung, if it is.
    pub fn examined(&mut self, load: &Load, limits: &Limits, now: Instant) -> Option<Hang> {
        match &mut self.phase {
            Phase::Online { health, .. } => health.look(load, limits, now),
            _ => None,
        }
    }

    /// It gets requests from now on, or it gets none until further notice.
    pub fn set_turn(&mut self, is_in_turn: bool) -> Vec<Effect> {
        let Phase::Online { process, in_turn, .. } = &mut self.phase else { return vec![] };
        if std::mem::replace(in_turn, is_in_turn) == is_in_turn {
            return vec![];
        }
        let generation = process.generation;
        vec![if is_in_turn { Effect::Publish(generation) } else { Effect::Withdraw(generation) }]
    }

    /// The process says that it cannot start.
    pub fn could_not_start(&mut self, why: String) {
        if let Phase::Starting { trouble, .. } = &mut self.phase {
            *trouble = Trouble::Reported(why);
        }
    }

    /// Another program has the port. This is no fault of the process, so that a
    /// candidate has another try as well.
    pub fn port_taken(&mut self, limits: &Limits, now: Instant) -> Vec<Effect> {
        if self.phase.is_starting() {
            return self.stop(AfterExit::Restart(RestartReason::PortTaken), limits, now);
        }
        vec![]
    }

    /// The fleet lets this hung process be replaced.
    pub fn eject(&mut self, limits: &Limits, now: Instant) -> Vec<Effect> {
        self.stop(self.after(RestartReason::Hang), limits, now)
    }

    /// The process says that it is stopping, though nobody told it to.
    pub fn leaving(&mut self, limits: &Limits, now: Instant) -> Vec<Effect> {
        let (Phase::Starting { process, .. }
        | Phase::Standby { process, .. }
        | Phase::Online { process, .. }) = self.phase
        else {
            return vec![];
        };
        let (next, online) = (self.after(RestartReason::Crash), self.phase.time_online(now));
        let escalation = Escalation::KillAt(now + limits.drain + limits.kill);
        self.enter(Phase::Stopping { process, online, escalation, next })
    }

    /// The process is gone, or could not be started.
    pub fn exited(&mut self, now: Instant) -> Vec<Effect> {
        let Some(&process) = self.phase.process() else { return vec![] };
        let next = match self.phase {
            Phase::Stopping { next, .. } => next,
            Phase::Draining { next, .. } => next,
            Phase::Stopped => AfterExit::StayDown,
            Phase::AtGate { .. }
            | Phase::Starting { .. }
            | Phase::Standby { .. }
            | Phase::Online { .. }
            | Phase::Backoff { .. } => self.after(RestartReason::Crash),
        };
        let reason = match next {
            AfterExit::Restart(reason) => reason,
            AfterExit::Replace => return self.enter(Phase::AtGate { since: now, reason: None }),
            AfterExit::StayDown => return self.enter(Phase::Stopped),
        };
        let wait = self.backoff.next(self.phase.time_online(now), process.jitter);
        self.history.last_reason = Some(reason);
        self.enter(Phase::Backoff { until: now + wait, reason })
    }

    /// A deadline may have passed. The end of a wait is for the fleet to see.
    pub fn tick(&mut self, limits: &Limits, now: Instant) -> Vec<Effect> {
        if self.phase.deadline().is_none_or(|deadline| now < deadline) {
            return vec![];
        }
        match &mut self.phase {
            Phase::Starting { process, .. } if seeded(Bug::RestartsBeforeExit) => {
                let effects = vec![Effect::Terminate(process.generation)];
                self.phase = Phase::Backoff { until: now, reason: RestartReason::SlowStart };
                effects
            }
            Phase::Starting { .. } => self.stop(self.after(RestartReason::SlowStart), limits, now),
            &mut Phase::Draining { next, .. } => {
                let mut effects = self.stop(next, limits, now);
                effects.extend(self.close_all().filter(|_| !seeded(Bug::LeavesConnections)));
                effects
            }
            Phase::Stopping { process, escalation, .. } => {
                *escalation = Escalation::Killed;
                if seeded(Bug::NeverKills) { vec![] } else { vec![Effect::Kill(process.generation)] }
            }
            Phase::Online { process, .. } => vec![Effect::Examine(process.generation)],
            Phase::AtGate { .. } | Phase::Standby { .. } | Phase::Backoff { .. } | Phase::Stopped => vec![],
        }
    }

    /// This candidate is ready and takes the place of the member with this history,
    /// if there was one.
    pub fn promote(&mut self, history: Option<History>, budget: RecycleBudget, now: Instant) -> Vec<Effect> {
        let Phase::Standby { process, .. } = self.phase else { return vec![] };
        self.role = Role::Current;
        self.history = history.unwrap_or_default();
        self.enter(online(process, budget, now))
    }

    /// A candidate is not started again.
    fn after(&self, reason: RestartReason) -> AfterExit {
        match self.role {
            Role::Current => AfterExit::Restart(reason),
            Role::Candidate | Role::Retiring | Role::Abandoned => AfterExit::StayDown,
        }
    }

    /// The only way into and out of Online, so that the pool follows.
    pub(super) fn enter(&mut self, next: Phase) -> Vec<Effect> {
        let before = std::mem::replace(&mut self.phase, next);
        match (&before, &self.phase) {
            (Phase::Online { .. }, Phase::Backoff { .. }) if seeded(Bug::DeadStaysPublished) => vec![],
            (Phase::Online { process, in_turn: true, .. }, _) => vec![Effect::Withdraw(process.generation)],
            (_, Phase::Online { process, .. }) => vec![Effect::Publish(process.generation)],
            _ => vec![],
        }
    }

    /// Online, but its last probes went unanswered.
    pub fn is_suspect(&self, limits: &Limits) -> bool {
        matches!(&self.phase, Phase::Online { health, .. } if health.is_suspect(limits))
    }

    /// Online, and its last probe was answered.
    pub fn is_answering(&self) -> bool {
        matches!(&self.phase, Phase::Online { health, .. } if health.is_answering())
    }

    /// Its next process waits at the gate.
    pub fn is_at_gate(&self) -> bool {
        matches!(self.phase, Phase::AtGate { .. })
    }

    /// Nothing is left to be done for it.
    pub fn is_over(&self) -> bool {
        self.role != Role::Current && self.phase.is_stopped()
    }

    /// Has a process of it ended before its time?
    pub fn has_failed(&self) -> bool {
        self.history.restarts > 0
            || matches!(self.phase, Phase::Backoff { .. } | Phase::AtGate { reason: Some(_), .. })
    }

    /// Starts whose process has ended, of a slot of which none was ever ready.
    pub fn failed_starts(&self) -> u64 {
        let waits = matches!(self.phase, Phase::Backoff { .. } | Phase::AtGate { reason: Some(_), .. });
        self.history.restarts + u64::from(waits)
    }

    /// When its next start begins, or the one that goes on has begun.
    pub fn starts_at(&self) -> Option<Instant> {
        match self.phase {
            Phase::Backoff { until, .. } => Some(until),
            Phase::AtGate { since, .. } if self.role == Role::Current => Some(since),
            Phase::Starting { ref process, .. } if self.role == Role::Current => Some(process.launched),
            _ => None,
        }
    }
}

fn online(process: Process, budget: RecycleBudget, now: Instant) -> Phase {
    Phase::Online { process, since: now, health: Health::new(now), in_turn: true, budget }
}

/// May this hung worker be replaced? Always while another worker answers its probes;
/// when none does, the fault may lie elsewhere, and then only one at a time is
/// replaced, so that probes alone never take a whole cluster down.
pub(crate) fn may_eject<'a>(current: impl Iterator<Item = &'a Member> + Clone, hung: WorkerId) -> bool {
    let mut others = current.filter(|member| member.id != hung);
    let any_answers = others.clone().any(Member::is_answering);
    let is_out = |member: &Member| {
        let phase = &member.phase;
        phase.is_ejected() || phase.is_starting() || phase.is_being_replaced() || member.is_at_gate()
    };
    let none_out = !others.any(is_out);
    any_answers || none_out || seeded(Bug::EjectsAll)
}
