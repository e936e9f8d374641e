//! A slot's process and those that follow it, as a state machine: what happens and
//! a time go in, effects come out. During a rollout two members have the same id:
//! one serves, the other is on trial or on its way out.

use std::time::{Duration, Instant};

use shared_protocol::{Generation, WorkerId};

use super::backoff::Backoff;
use super::phase::{AfterExit, Escalation, Phase, Process, Trouble};
use super::recycle::RecycleBudget;
use super::seeded::{Bug, seeded};
use super::{Effect, Jitter};
use shared_protocol::RestartReason;

/// Deadlines and thresholds of every member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Limits {
    /// From launch to ready.
    pub startup: Duration,
    /// From retirement to SIGTERM, while requests are in flight.
    pub drain: Duration,
    /// From SIGTERM to SIGKILL.
    pub kill: Duration,
    /// Missed probes in a row that make a worker suspect.
    pub fall: u32,
    /// Answered probes in a row that make a starting worker ready.
    pub rise: u32,
}

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
    pub(super) backoff: Backoff,
}

impl Member {
    /// A member whose first process is being launched.
    pub fn new(id: WorkerId, role: Role, process: Process, limits: &Limits) -> Self {
        let (history, backoff) = (History::default(), Backoff::default());
        Self { id, role, phase: starting(process, limits), history, backoff }
    }

    pub fn generation(&self) -> Option<Generation> {
        self.phase.process().map(|process| process.generation)
    }

    /// The next process is launched, after the wait.
    pub fn restart(&mut self, process: Process, limits: &Limits) {
        self.history.restarts += 1;
        self.phase = starting(process, limits);
    }

    /// Notes the number that the process has drawn.
    pub fn set_jitter(&mut self, drawn: Jitter) {
        if let Phase::Starting { process, .. } = &mut self.phase {
            process.jitter = drawn;
        }
    }

    /// The process has answered a probe. `budget` is for the case that this makes
    /// it ready.
    pub fn answered(&mut self, limits: &Limits, budget: RecycleBudget, now: Instant) -> Vec<Effect> {
        match &mut self.phase {
            Phase::Online { misses, .. } | Phase::Standby { misses, .. } => *misses = 0,
            Phase::Starting { process, passes, .. } => {
                *passes = passes.saturating_add(1);
                if *passes >= limits.rise {
                    let process = *process;
                    if self.role == Role::Candidate && !seeded(Bug::CandidatePublished) {
                        self.phase = Phase::Standby { process, misses: 0 };
                        return vec![];
                    }
                    return self.enter(Phase::Online { process, since: now, misses: 0, budget });
                }
            }
            Phase::Draining { .. } | Phase::Stopping { .. } | Phase::Backoff { .. } | Phase::Stopped => {}
        }
        vec![]
    }

    /// The process has missed a probe.
    pub fn missed(&mut self, why: String) {
        match &mut self.phase {
            Phase::Online { misses, .. } | Phase::Standby { misses, .. } => {
                *misses = misses.saturating_add(1);
            }
            Phase::Starting { passes, trouble, .. } => {
                *passes = 0;
                if !matches!(trouble, Trouble::Reported(_)) {
                    *trouble = Trouble::Unanswered(why);
                }
            }
            Phase::Draining { .. } | Phase::Stopping { .. } | Phase::Backoff { .. } | Phase::Stopped => {}
        }
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

    /// The fleet lets this suspect be replaced.
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

    /// The process has a successor, or is not wanted any more.
    pub fn retire(&mut self, limits: &Limits, now: Instant) -> Vec<Effect> {
        self.role = Role::Retiring;
        let Phase::Online { process, .. } = self.phase else {
            return self.stop(AfterExit::StayDown, limits, now);
        };
        let mut effects = self.enter(Phase::Draining { process, until: now + limits.drain });
        effects.push(Effect::AwaitDrain(process.generation));
        effects
    }

    /// A retired process has no more requests.
    pub fn drained(&mut self, limits: &Limits, now: Instant) -> Vec<Effect> {
        if matches!(self.phase, Phase::Draining { .. }) {
            return self.stop(AfterExit::StayDown, limits, now);
        }
        vec![]
    }

    /// The process is gone, or could not be started.
    pub fn exited(&mut self, now: Instant) -> Vec<Effect> {
        let Some(&process) = self.phase.process() else { return vec![] };
        let next = match self.phase {
            Phase::Stopping { next, .. } => next,
            Phase::Draining { .. } | Phase::Stopped => AfterExit::StayDown,
            Phase::Starting { .. } | Phase::Standby { .. } | Phase::Online { .. } | Phase::Backoff { .. } => {
                self.after(RestartReason::Crash)
            }
        };
        let AfterExit::Restart(reason) = next else { return self.enter(Phase::Stopped) };
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
            Phase::Draining { .. } => self.stop(AfterExit::StayDown, limits, now),
            Phase::Stopping { process, escalation, .. } => {
                *escalation = Escalation::Killed;
                if seeded(Bug::NeverKills) { vec![] } else { vec![Effect::Kill(process.generation)] }
            }
            Phase::Standby { .. } | Phase::Online { .. } | Phase::Backoff { .. } | Phase::Stopped => vec![],
        }
    }

    /// Asks the process to stop; `next` follows its end. A process that is stopping
    /// already may only be told to stay down.
    pub fn stop(&mut self, next: AfterExit, limits: &Limits, now: Instant) -> Vec<Effect> {
        let process = match &mut self.phase {
            Phase::Backoff { .. } => {
                self.phase = Phase::Stopped;
                return vec![];
            }
            Phase::Stopping { next: after, .. } => {
                if next == AfterExit::StayDown && !seeded(Bug::StopForgetsStopping) {
                    *after = next;
                }
                return vec![];
            }
            Phase::Stopped => return vec![],
            Phase::Starting { process, .. }
            | Phase::Standby { process, .. }
            | Phase::Online { process, .. }
            | Phase::Draining { process, .. } => *process,
        };
        let online = self.phase.time_online(now);
        let escalation = Escalation::KillAt(now + limits.kill);
        let mut effects = self.enter(Phase::Stopping { process, online, escalation, next });
        effects.push(Effect::Terminate(process.generation));
        effects
    }

    /// Ends the process at once; nothing follows.
    pub fn kill(&mut self, limits: &Limits, now: Instant) -> Vec<Effect> {
        let mut effects = self.stop(AfterExit::StayDown, limits, now);
        if let Phase::Stopping { process, escalation, .. } = &mut self.phase {
            *escalation = Escalation::Killed;
            effects.push(Effect::Kill(process.generation));
        }
        effects
    }

    /// This candidate is ready and takes the place of the member with this history,
    /// if there was one.
    pub fn promote(&mut self, history: Option<History>, budget: RecycleBudget, now: Instant) -> Vec<Effect> {
        let Phase::Standby { process, misses } = self.phase else { return vec![] };
        self.role = Role::Current;
        self.history = history.unwrap_or_default();
        self.enter(Phase::Online { process, since: now, misses, budget })
    }

    /// A candidate is not started again.
    fn after(&self, reason: RestartReason) -> AfterExit {
        match self.role {
            Role::Current => AfterExit::Restart(reason),
            Role::Candidate | Role::Retiring | Role::Abandoned => AfterExit::StayDown,
        }
    }

    /// The only way into and out of Online, so that the pool follows.
    fn enter(&mut self, next: Phase) -> Vec<Effect> {
        let before = std::mem::replace(&mut self.phase, next);
        match (&before, &self.phase) {
            (Phase::Online { .. }, Phase::Online { .. }) => vec![],
            (Phase::Online { .. }, Phase::Backoff { .. }) if seeded(Bug::DeadStaysPublished) => vec![],
            (Phase::Online { process, .. }, _) => vec![Effect::Withdraw(process.generation)],
            (_, Phase::Online { process, .. }) => vec![Effect::Publish(process.generation)],
            _ => vec![],
        }
    }

    /// Ready, but its last probes went unanswered.
    pub fn is_suspect(&self, limits: &Limits) -> bool {
        matches!(self.phase, Phase::Online { misses, .. } | Phase::Standby { misses, .. }
            if misses >= limits.fall)
    }

    /// Online, and its last probe was answered.
    pub fn is_answering(&self) -> bool {
        matches!(self.phase, Phase::Online { misses: 0, .. })
    }

    /// Nothing is left to be done for it.
    pub fn is_over(&self) -> bool {
        self.role != Role::Current && self.phase.is_stopped()
    }

    /// Has a process of it ended before its time?
    pub fn has_failed(&self) -> bool {
        self.history.restarts > 0 || matches!(self.phase, Phase::Backoff { .. })
    }

    /// When its next start begins, or the one that goes on has begun.
    pub fn starts_at(&self) -> Option<Instant> {
        match self.phase {
            Phase::Backoff { until, .. } => Some(until),
            Phase::Starting { ref process, .. } if self.role == Role::Current => Some(process.launched),
            _ => None,
        }
    }
}

fn starting(process: Process, limits: &Limits) -> Phase {
    let deadline = process.launched + limits.startup;
    Phase::Starting { process, deadline, passes: 0, trouble: Trouble::Silent }
}

/// May this suspect be taken out? Always while another worker answers its probes;
/// when none does, the fault may lie elsewhere, and then only one at a time is
/// replaced, so that probes alone never take a whole cluster down.
pub(crate) fn may_eject<'a>(current: impl Iterator<Item = &'a Member> + Clone, suspect: WorkerId) -> bool {
    let mut others = current.filter(|member| member.id != suspect);
    let any_answers = others.clone().any(Member::is_answering);
    let none_out = !others.any(|member| member.phase.is_ejected() || member.phase.is_starting());
    any_answers || none_out || seeded(Bug::EjectsAll)
}
