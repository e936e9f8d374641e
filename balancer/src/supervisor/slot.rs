//! The life of one worker slot, as a pure state machine: an event and a time go
//! in, actions for the supervisor come out. No process, socket or clock is
//! touched here.
//!
//! ```text
//!            Listening, Probe ok × rise            Eject, Stop
//! Starting ─────────────────────────────► Online ──────────────► Stopping
//!    ▲ │ deadline: Stopping                  │ Exited               │ Exited
//!    │ ▼ Exited                              ▼                      ▼
//!    └──────────── Backoff ◄─────────────────┴──────── or Stopped, when told to
//! ```

use std::time::{Duration, Instant};

use shared::protocol::{WorkerId, WorkerState};

use super::backoff::Backoff;

/// Deadlines and thresholds of every slot.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// From launch to ready.
    pub startup: Duration,
    /// From SIGTERM to SIGKILL.
    pub kill: Duration,
    /// Missed probes in a row that make a worker suspect.
    pub fall: u32,
    /// Answered probes in a row that make a starting worker ready.
    pub rise: u32,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Event {
    /// The process could not be started.
    LaunchFailed { jitter: f64 },
    /// The worker has reported its port; probing has begun.
    Listening,
    /// A probe came back.
    Probe { healthy: bool },
    /// The supervisor lets this suspect be replaced.
    Eject,
    /// The process is gone. `jitter` is uniform in 0.0…1.0.
    Exited { jitter: f64 },
    /// [`Slot::due`] has come.
    Due,
    /// The cluster is stopping.
    Stop,
    /// The cluster is stopping and does not wait any longer.
    Kill,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Start a process for this slot; report [`Event::LaunchFailed`] if it cannot.
    Launch,
    /// Hand requests to the process.
    Publish,
    /// Hand it no further requests.
    Withdraw,
    /// SIGTERM to the process's group.
    Terminate,
    /// SIGKILL to the process's group.
    Kill,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Starting {
        since: Instant,
    },
    Online {
        since: Instant,
    },
    /// Told to go; `kill_at` is `None` once SIGKILL was sent.
    Stopping {
        why: Why,
        online: Duration,
        kill_at: Option<Instant>,
    },
    Backoff {
        until: Instant,
    },
    Stopped,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    MissedProbes,
    StartedTooSlowly,
    Shutdown,
}

#[derive(Debug)]
pub struct Slot {
    pub id: WorkerId,
    limits: Limits,
    state: State,
    backoff: Backoff,
    restarts: u64,
    misses: u32,
    passes: u32,
}

impl Slot {
    /// A slot whose first process is to be launched at `now`, as by [`Action::Launch`].
    pub fn new(id: WorkerId, limits: Limits, now: Instant) -> Self {
        let state = State::Starting { since: now };
        Self { id, limits, state, backoff: Backoff::default(), restarts: 0, misses: 0, passes: 0 }
    }

    pub fn handle(&mut self, event: Event, now: Instant) -> Vec<Action> {
        match event {
            Event::Listening => vec![],
            Event::Probe { healthy } => self.probed(healthy, now),
            Event::Eject => self.stop(Why::MissedProbes, now),
            Event::Exited { jitter } | Event::LaunchFailed { jitter } => self.exited(jitter, now),
            Event::Due => self.on_due(now),
            Event::Stop => self.stop(Why::Shutdown, now),
            Event::Kill => self.kill(now),
        }
    }

    fn probed(&mut self, healthy: bool, now: Instant) -> Vec<Action> {
        if healthy {
            self.misses = 0;
            self.passes = self.passes.saturating_add(1);
        } else {
            self.misses = self.misses.saturating_add(1);
            self.passes = 0;
        }
        match self.state {
            State::Starting { .. } if self.passes >= self.limits.rise => {
                self.state = State::Online { since: now };
                self.misses = 0;
                vec![Action::Publish]
            }
            _ => vec![],
        }
    }

    fn stop(&mut self, why: Why, now: Instant) -> Vec<Action> {
        let online = match self.state {
            State::Starting { .. } => Duration::ZERO,
            State::Online { since } => now.saturating_duration_since(since),
            State::Backoff { .. } => {
                self.state = State::Stopped;
                return vec![];
            }
            // On its way out already: only the reason may change, so that it is not started again.
            State::Stopping { ref mut why, .. } => {
                *why = Why::Shutdown;
                return vec![];
            }
            State::Stopped => return vec![],
        };
        self.state = State::Stopping { why, online, kill_at: Some(now + self.limits.kill) };
        vec![Action::Withdraw, Action::Terminate]
    }

    fn kill(&mut self, now: Instant) -> Vec<Action> {
        let mut actions = self.stop(Why::Shutdown, now);
        if let State::Stopping { ref mut kill_at, .. } = self.state {
            *kill_at = None;
            actions.push(Action::Kill);
        }
        actions
    }

    fn exited(&mut self, jitter: f64, now: Instant) -> Vec<Action> {
        let (online, stay_down) = match self.state {
            State::Starting { .. } | State::Backoff { .. } => (Duration::ZERO, false),
            State::Online { since } => (now.saturating_duration_since(since), false),
            State::Stopping { why, online, .. } => (online, why == Why::Shutdown),
            State::Stopped => (Duration::ZERO, true),
        };
        if stay_down {
            self.state = State::Stopped;
            return vec![Action::Withdraw];
        }
        let wait = self.backoff.next(online, jitter);
        let mut actions = vec![Action::Withdraw];
        if wait.is_zero() {
            actions.extend(self.relaunch(now));
        } else {
            self.state = State::Backoff { until: now + wait };
        }
        actions
    }

    fn on_due(&mut self, now: Instant) -> Vec<Action> {
        if self.due().is_none_or(|due| now < due) {
            return vec![];
        }
        match self.state {
            State::Starting { .. } => self.stop(Why::StartedTooSlowly, now),
            State::Stopping { ref mut kill_at, .. } => {
                *kill_at = None;
                vec![Action::Kill]
            }
            State::Backoff { .. } => self.relaunch(now),
            State::Online { .. } | State::Stopped => vec![],
        }
    }

    fn relaunch(&mut self, now: Instant) -> Vec<Action> {
        self.state = State::Starting { since: now };
        self.restarts += 1;
        self.misses = 0;
        self.passes = 0;
        vec![Action::Launch]
    }

    /// When [`Event::Due`] is next to be sent.
    pub fn due(&self) -> Option<Instant> {
        match self.state {
            State::Starting { since } => Some(since + self.limits.startup),
            State::Stopping { kill_at, .. } => kill_at,
            State::Backoff { until } => Some(until),
            State::Online { .. } | State::Stopped => None,
        }
    }

    pub fn state(&self) -> WorkerState {
        match self.state {
            State::Starting { .. } => WorkerState::Starting,
            State::Online { .. } => WorkerState::Online,
            State::Stopping { why: Why::Shutdown, .. } => WorkerState::Draining,
            State::Stopping { .. } => WorkerState::Unhealthy,
            State::Backoff { .. } => WorkerState::Backoff,
            State::Stopped => WorkerState::Failed,
        }
    }

    pub fn online_since(&self) -> Option<Instant> {
        match self.state {
            State::Online { since } => Some(since),
            _ => None,
        }
    }

    /// When the slot's next start begins, or the one that goes on has begun.
    pub fn starts_at(&self) -> Option<Instant> {
        match self.state {
            State::Backoff { until } => Some(until),
            State::Starting { since } => Some(since),
            _ => None,
        }
    }

    /// Online, but its last probes went unanswered.
    pub fn is_suspect(&self) -> bool {
        matches!(self.state, State::Online { .. }) && self.misses >= self.limits.fall
    }

    /// Online, and its last probe was answered.
    pub fn is_answering(&self) -> bool {
        matches!(self.state, State::Online { .. }) && self.misses == 0
    }

    /// Being replaced because it missed its probes.
    pub fn is_ejected(&self) -> bool {
        matches!(self.state, State::Stopping { why: Why::MissedProbes, .. })
    }

    pub fn is_starting(&self) -> bool {
        matches!(self.state, State::Starting { .. })
    }

    pub fn is_stopped(&self) -> bool {
        matches!(self.state, State::Stopped)
    }

    pub fn restarts(&self) -> u64 {
        self.restarts
    }
}

/// May this suspect be taken out? Always while another worker answers its
/// probes; when none does, the fault may lie elsewhere, and then only one at a
/// time is replaced, so that probes alone never take a whole cluster down.
pub fn may_eject(slots: &[Slot], suspect: WorkerId) -> bool {
    let mut others = slots.iter().filter(|slot| slot.id != suspect);
    let any_answers = others.clone().any(Slot::is_answering);
    let none_out = !others.any(|slot| slot.is_ejected() || slot.is_starting());
    any_answers || none_out
}

#[cfg(test)]
#[path = "slot_tests.rs"]
mod tests;
