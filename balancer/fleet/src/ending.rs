//! How the process of a member ends: it finishes what it has, its long-lived connections
//! end within their time, and it is told to stop and at last killed.

use std::time::{Duration, Instant};

use super::Effect;
use super::limits::{DrainSignal, Limits};
use super::member::{Member, Role};
use super::phase::{AfterExit, Escalation, Phase, Process};
use super::seeded::{Bug, seeded};

impl Member {
    /// The process has a successor, or is not wanted any more.
    pub fn retire(&mut self, limits: &Limits, now: Instant) -> Vec<Effect> {
        self.role = Role::Retiring;
        let Phase::Online { process, .. } = self.phase else {
            return self.stop(AfterExit::StayDown, limits, now);
        };
        self.drain(process, AfterExit::StayDown, limits, now)
    }

    /// The process is to end, and its successor starts after it.
    pub fn replace(&mut self, limits: &Limits, now: Instant) -> Vec<Effect> {
        match &mut self.phase {
            Phase::Online { process, .. } => {
                let process = *process;
                self.drain(process, AfterExit::Replace, limits, now)
            }
            Phase::Stopping { next, .. } => {
                *next = AfterExit::Replace;
                vec![]
            }
            &mut Phase::Backoff { reason, .. } => {
                self.phase = Phase::AtGate { since: now, reason: Some(reason) };
                vec![]
            }
            Phase::AtGate { .. } => vec![],
            _ => self.stop(AfterExit::Replace, limits, now),
        }
    }

    fn drain(&mut self, process: Process, next: AfterExit, limits: &Limits, now: Instant) -> Vec<Effect> {
        let mut effects = self.enter(Phase::Draining { process, until: now + limits.drain, next });
        effects.push(Effect::AwaitDrain(process.generation));
        effects
    }

    /// A retired process has only long-lived connections: they end, and it is told so.
    pub fn only_long_lived(&mut self, handles_terminate: bool, limits: &Limits, now: Instant) -> Vec<Effect> {
        let Phase::Draining { until, next, .. } = self.phase else { return vec![] };
        let left = until.saturating_duration_since(now);
        self.end_long_lived(limits.long_lived(left), next, handles_terminate, limits, now)
    }

    /// The long-lived connections of the process end within `over`, and it is told so, unless
    /// SIGTERM is what would tell it and it does not handle that: it gets it last then. `next`
    /// follows its end.
    fn end_long_lived(
        &mut self,
        over: Duration,
        next: AfterExit,
        handles_terminate: bool,
        limits: &Limits,
        now: Instant,
    ) -> Vec<Effect> {
        let (Phase::Online { process, .. } | Phase::Draining { process, .. }) = self.phase else {
            return vec![];
        };
        let generation = process.generation;
        let close = Effect::Close { generation, over: Some(over) };
        let is_told = handles_terminate || seeded(Bug::TellsWhoDiesOfIt);
        if limits.drain_signal == DrainSignal::Terminate && is_told {
            let mut effects = self.stop(next, limits, now);
            if seeded(Bug::TellsTwice) {
                self.phase = Phase::Draining { process, until: now + over, next };
            }
            if let Phase::Stopping { escalation: Escalation::KillAt(at), .. } = &mut self.phase {
                *at += over;
            }
            effects.push(close);
            return effects;
        }
        let mut effects = self.enter(Phase::Draining { process, until: now + over, next });
        if let DrainSignal::Other(signal) = limits.drain_signal {
            effects.push(Effect::SignalDrain { generation, signal });
        }
        effects.push(close);
        effects
    }

    /// The process has nothing in flight any more.
    pub fn drained(&mut self, limits: &Limits, now: Instant) -> Vec<Effect> {
        if let Phase::Draining { next, .. } = self.phase {
            return self.stop(next, limits, now);
        }
        self.kill_by(now + limits.kill);
        vec![]
    }

    /// The cluster stops. The process may keep its long-lived connections for a while.
    pub fn stop_for_good(
        &mut self,
        long_lived: Duration,
        handles_terminate: bool,
        limits: &Limits,
        now: Instant,
    ) -> Vec<Effect> {
        if long_lived.is_zero() || !matches!(self.phase, Phase::Online { .. } | Phase::Draining { .. }) {
            let mut effects = self.stop(AfterExit::StayDown, limits, now);
            // One that was told to end during a drain has the time of the stop from now on.
            let had_more = !seeded(Bug::StopForgetsDrains) && self.kill_by(now + long_lived + limits.kill);
            if long_lived.is_zero() {
                effects.extend(self.close_all());
            } else if let Some(generation) = self.generation().filter(|_| had_more) {
                effects.push(Effect::Close { generation, over: Some(long_lived) });
            }
            return effects;
        }
        let is_awaited = matches!(self.phase, Phase::Draining { .. });
        let mut effects =
            self.end_long_lived(long_lived, AfterExit::StayDown, handles_terminate, limits, now);
        if let Some(generation) = self.generation().filter(|_| !is_awaited) {
            effects.push(Effect::AwaitDrain(generation));
        }
        effects
    }

    /// What the process has in flight ends.
    pub(super) fn close_all(&self) -> Option<Effect> {
        let process = self.phase.process()?;
        Some(Effect::Close { generation: process.generation, over: None })
    }

    /// Was retired, and has time for what it has in hand.
    pub fn finishes(&self, limits: &Limits, now: Instant) -> bool {
        self.role == Role::Retiring && self.phase.finishes(limits, now)
    }

    /// The process has less time than it was given for what it has.
    pub fn cut_short(&mut self, limits: &Limits, now: Instant) -> Vec<Effect> {
        let mut effects = self.stop(AfterExit::StayDown, limits, now);
        self.kill_by(now + limits.kill);
        if let Some(generation) = self.generation() {
            // Its requests may take the time that the process has to end.
            effects.push(Effect::Close { generation, over: Some(limits.kill / 2) });
        }
        effects
    }

    /// A process that was told to end is killed at this time, if not earlier. Says whether
    /// it had more time.
    fn kill_by(&mut self, latest: Instant) -> bool {
        let Phase::Stopping { escalation: Escalation::KillAt(at), .. } = &mut self.phase else {
            return false;
        };
        let had_more = *at > latest;
        *at = latest.min(*at);
        had_more
    }

    /// Asks the process to stop; `next` follows its end. A process that is stopping
    /// already may only be told to stay down.
    pub fn stop(&mut self, next: AfterExit, limits: &Limits, now: Instant) -> Vec<Effect> {
        let process = match &mut self.phase {
            Phase::AtGate { .. } | Phase::Backoff { .. } => {
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
}
