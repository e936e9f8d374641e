//! What became of processes, and of the time that they have.

use std::time::Instant;

use shared_protocol::Generation;

use super::member::{self, Role};
use super::phase::{AfterExit, Phase, Trouble};
use super::rollout::{ActiveRollout, Stage};
use super::seeded::{Bug, seeded};
use super::{ClusterEvent, Effect, Exit, Fleet, Hang, Jitter, Load, ProbeResult, Report};

impl Fleet {
    pub(super) fn on_report(&mut self, generation: Generation, report: Report, now: Instant) {
        let Some(index) = self.members.iter().position(|member| member.generation() == Some(generation))
        else {
            return;
        };
        let worker = self.members[index].id;
        let limits = self.settings.limits;
        match report {
            Report::Launched { jitter } => self.on_launched(index, generation, jitter),
            Report::LaunchFailed { why, jitter } => {
                self.members[index].set_jitter(jitter);
                self.announce(ClusterEvent::LaunchFailed { worker, why: why.clone() }, None);
                self.on_gone(index, generation, format!("could not be started: {why}"), now);
            }
            Report::Up if self.members[index].phase.is_starting() => {
                self.effects.push(Effect::Probe(generation));
            }
            Report::Up => {}
            Report::CouldNotStart { why } => {
                self.members[index].could_not_start(why.clone());
                self.announce(ClusterEvent::CouldNotStart { worker, generation, why }, None);
            }
            Report::Leaving => {
                self.effects.extend(self.members[index].leaving(&limits, now));
                self.check_candidate(index, generation, "is stopping by itself", now);
            }
            Report::Probed { result, load } => self.on_probed(index, generation, result, &load, now),
            Report::Examined(load) => {
                if let Some(hang) = self.members[index].examined(&load, &limits, now) {
                    self.eject(index, generation, hang, now);
                }
            }
            Report::OnlyLongLived { handles_terminate } => {
                let limits = self.drain_limits(worker);
                let effects = self.members[index].only_long_lived(handles_terminate, &limits, now);
                self.effects.extend(effects);
            }
            Report::Drained => self.effects.extend(self.members[index].drained(&limits, now)),
            Report::Exited(exit) => self.on_exited(index, generation, exit, now),
        }
    }

    fn on_launched(&mut self, index: usize, generation: Generation, jitter: Jitter) {
        let member = &mut self.members[index];
        member.set_jitter(jitter);
        let (worker, on_trial) = (member.id, member.role == Role::Candidate);
        let requester = if on_trial || self.is_down(worker) { self.requester() } else { None };
        self.announce(ClusterEvent::Started { worker, generation, on_trial }, requester);
    }

    fn on_probed(
        &mut self,
        index: usize,
        generation: Generation,
        result: ProbeResult,
        load: &Load,
        now: Instant,
    ) {
        let (member, limits) = (&mut self.members[index], self.settings.limits);
        let worker = member.id;
        match result {
            ProbeResult::Healthy => self.on_answered(index, generation, load, now),
            ProbeResult::Missed { why } => {
                let event = match member.phase {
                    Phase::Starting { .. } => {
                        Some(ClusterEvent::NotReadyYet { worker, generation, why: why.clone() })
                    }
                    Phase::Online { .. } | Phase::Standby { .. } => {
                        Some(ClusterEvent::ProbeMissed { worker, generation, why: why.clone() })
                    }
                    // It has no requests, so nobody cares.
                    _ => None,
                };
                let hang = member.missed(why, load, &limits, now);
                if let Some(event) = event {
                    self.announce(event, None);
                }
                if let Some(hang) = hang {
                    self.eject(index, generation, hang, now);
                }
            }
            ProbeResult::PortTaken if seeded(Bug::IgnoresPortTaken) => {
                self.on_answered(index, generation, load, now);
            }
            ProbeResult::PortTaken if member.phase.is_starting() => {
                let effects = member.port_taken(&limits, now);
                self.announce(ClusterEvent::PortTaken { worker, generation }, None);
                self.effects.extend(effects);
            }
            ProbeResult::PortTaken => {}
            ProbeResult::Unknown { why } => {
                self.announce(ClusterEvent::NotProbed { worker, generation, why }, None);
            }
        }
    }

    fn on_answered(&mut self, index: usize, generation: Generation, load: &Load, now: Instant) {
        let (budget, limits) = (self.budget(index, now), self.settings.limits);
        let member = &mut self.members[index];
        let Some(&process) = member.phase.process() else { return };
        self.ports.got_ready(process.port);
        let was_starting = member.phase.is_starting();
        let effects = member.answered(load, &limits, budget, now);
        self.effects.extend(effects);
        let (worker, after) = (member.id, now.saturating_duration_since(process.launched));
        if was_starting && !member.phase.is_starting() {
            self.gate.got_ready(after);
            self.note_ready();
        }
        match self.members[index].phase {
            Phase::Online { .. } if was_starting => {
                let rollout = self.rollout.as_ref().filter(|_| self.is_down(worker));
                let replaces = rollout.and_then(|rollout| rollout.kind.replaces());
                let requester = rollout.and_then(|rollout| Some(rollout.requester?.id));
                self.announce(ClusterEvent::Online { worker, generation, after, replaces }, requester);
            }
            Phase::Standby { .. } if was_starting => {
                if let Some(ActiveRollout { stage: Stage::Starting(plan), .. }) = &mut self.rollout {
                    plan.stands_by(worker);
                }
                self.announce(ClusterEvent::StandsBy { worker, generation, after }, self.requester());
            }
            _ => {}
        }
    }

    /// Replaces a worker that is hung, or gives its rollout up, unless too many are being
    /// replaced: then it is looked at again with its next missed probe.
    fn eject(&mut self, index: usize, generation: Generation, hang: Hang, now: Instant) {
        let limits = self.settings.limits;
        let (worker, role) = (self.members[index].id, self.members[index].role);
        if role != Role::Candidate && !member::may_eject(self.current(), worker) {
            return;
        }
        self.announce(ClusterEvent::Hung { worker, generation, hang }, None);
        let effects = self.members[index].eject(&limits, now);
        self.effects.extend(effects);
        self.check_candidate(
            index,
            generation,
            "missed its health probes while it waited for the others",
            now,
        );
    }

    fn on_exited(&mut self, index: usize, generation: Generation, exit: Exit, now: Instant) {
        let member = &self.members[index];
        let worker = member.id;
        let gives_way = member.phase.is_being_replaced();
        let retired = member.role == Role::Retiring || gives_way;
        let expected = self.is_stopping() || member.phase.is_ending();
        let failure = match &member.phase {
            Phase::Starting { trouble: Trouble::Reported(why), .. } => why.clone(),
            Phase::Starting { .. } => exit.cause.clone().unwrap_or_else(|| ended_early(&exit)),
            _ => "ended while it waited for the others".to_owned(),
        };
        let early = match &member.phase {
            Phase::Starting { process, .. } if !self.is_stopping() => Some(process.port),
            _ => None,
        };
        let requester = if gives_way { self.requester() } else { self.awaits(generation) };
        self.announce(ClusterEvent::Exited { worker, generation, exit, expected, retired }, requester);
        if let Some(next) = early.and_then(|port| self.ports.ended_early(port)) {
            self.announce(ClusterEvent::PortPolicyChanged { worker, next }, None);
        }
        self.on_gone(index, generation, failure, now);
    }

    /// The process is no more; `failure` is why a candidate did not get ready.
    fn on_gone(&mut self, index: usize, generation: Generation, failure: String, now: Instant) {
        let effects = self.members[index].exited(now);
        self.effects.extend(effects);
        if let Phase::Backoff { until, .. } = self.members[index].phase
            && until > now
        {
            let (worker, wait) = (self.members[index].id, until - now);
            self.announce(ClusterEvent::BackingOff { worker, wait }, None);
        }
        self.check_candidate(index, generation, &failure, now);
        self.note_retired_gone(generation, now);
    }

    pub(super) fn tick_member(&mut self, index: usize, now: Instant) {
        let limits = self.settings.limits;
        let member = &mut self.members[index];
        let (worker, generation) = (member.id, member.generation());
        let before = member.phase.clone();
        let effects = member.tick(&limits, now);
        let (Some(generation), false) = (generation, effects.is_empty()) else { return };
        match before {
            Phase::Starting { trouble, .. } => {
                let why = match trouble {
                    Trouble::Silent => "it has not been heard of".to_owned(),
                    Trouble::Unanswered(why) | Trouble::Reported(why) => why,
                };
                self.gate.missed_its_time();
                let within = limits.startup;
                let failure = format!("not ready within {within:?} (--startup-timeout): {why}");
                self.announce(ClusterEvent::NotReadyInTime { worker, generation, within, why }, None);
                self.effects.extend(effects);
                self.check_candidate(index, generation, &failure, now);
            }
            Phase::Stopping { .. } => {
                self.announce(ClusterEvent::Killed { worker, generation }, None);
                self.effects.extend(effects);
            }
            _ => self.effects.extend(effects),
        }
    }

    /// Ends the rollout under way if this member was one of its candidates and will
    /// not get ready any more, or is to follow a worker and has failed.
    fn check_candidate(&mut self, index: usize, generation: Generation, why: &str, now: Instant) {
        self.check_successor(index, generation, why, now);
        let member = &self.members[index];
        if member.role == Role::Candidate && member.phase.is_given_up() {
            self.fail_rollout(format!("worker {}: {why}", member.id), Some(generation), now);
        }
    }

    /// A member that is to stay down does so.
    pub(super) fn give_up(&mut self, index: usize, now: Instant) {
        let limits = self.settings.limits;
        let effects = self.members[index].stop(AfterExit::StayDown, &limits, now);
        self.effects.extend(effects);
    }
}

fn ended_early(exit: &Exit) -> String {
    format!("ended before it was ready: {}", exit.how)
}
