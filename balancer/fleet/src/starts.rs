//! Which processes are launched, and when.

use std::time::Instant;

use shared_protocol::Generation;

use super::member::Role;
use super::phase::{Phase, Process};
use super::rollout::{ActiveRollout, Stage};
use super::seeded::{Bug, seeded};
use super::{ClusterEvent, Effect, Fleet, Jitter, Launch};

impl Fleet {
    /// How many processes are starting.
    pub(super) fn starting(&self) -> usize {
        self.members.iter().filter(|member| member.phase.is_starting()).count()
    }

    pub(super) fn gate_admits(&self) -> bool {
        self.gate.admits(self.starting()) || seeded(Bug::OpenGate)
    }

    /// Launches the next process of members that wait for it, as many as the gate admits.
    pub(super) fn start_at_gate(&mut self, now: Instant) {
        for index in 0..self.members.len() {
            self.members[index].queue_at_gate(now);
            let waits = self.members[index].is_at_gate();
            if waits && self.has_slot_to_itself(index) && self.gate_admits() {
                self.start(index, now);
            }
        }
    }

    /// Launches the next process of this member, which is at the gate.
    pub(super) fn start(&mut self, index: usize, now: Instant) {
        let member = &self.members[index];
        let (worker, role, restarts) = (member.id, member.role, member.history.restarts + 1);
        let Phase::AtGate { reason, .. } = member.phase else { return };
        if let Some(reason) = reason {
            self.announce(ClusterEvent::Restarting { worker, reason, restarts }, None);
        }
        self.generations += 1;
        let (generation, port) = (Generation(self.generations), self.ports.choice());
        let (on_trial, workers) = (role == Role::Candidate, self.workers_told());
        let opened = self.rollout.as_ref().and_then(|rollout| rollout.release);
        let release = opened.filter(|_| self.is_down(worker)).unwrap_or(self.members[index].release);
        self.members[index].release = release;
        self.effects.push(Effect::Launch(Launch { worker, on_trial, generation, workers, release, port }));
        let process = Process { generation, launched: now, port, jitter: Jitter::NONE };
        self.members[index].start(process, &self.settings.limits);
    }

    /// Tells the gate whether somebody waits for it.
    pub(super) fn watch_gate(&mut self, now: Instant) {
        let candidates = match &self.rollout {
            Some(ActiveRollout { stage: Stage::Starting(plan), .. }) => plan.waits(),
            _ => false,
        };
        let waits = candidates || self.members.iter().any(|member| member.is_at_gate());
        let starting = self.starting();
        self.gate.has_queue(waits && !self.is_stopping() && !seeded(Bug::ForgetsTheQueue), starting, now);
    }
}
