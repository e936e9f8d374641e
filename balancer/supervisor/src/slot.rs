//! The life of one worker process and its successors in the same slot, as a pure
//! state machine: an event and a time go in, actions for the supervisor come
//! out. No process, socket or clock is touched here.
//!
//! ```text
//!            Probe ok × rise                 Eject, Leaving, Stop
//! Starting ───────────────────► Online ───────────────────────────► Stopping
//!    ▲ │ deadline: Stopping     │    │ Retire             Idle, Due ▲ │ Exited
//!    │ ▼ Exited          Exited │    └───────────► Draining ────────┘ ▼
//!    └──────────── Backoff ◄────┴──────────── or Stopped, when it is to stay down
//! ```
//!
//! A candidate is a slot on trial, for a reload, a scale or a replacement: ready,
//! it stands by until it is promoted, and when it fails it is not tried again.

use std::time::{Duration, Instant};

use shared_protocol::{WorkerId, WorkerState};

use super::backoff::Backoff;
use shared_protocol::RestartReason as Reason;

/// Deadlines and thresholds of every slot.
#[derive(Debug, Clone, Copy)]
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

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Event {
    /// The process could not be started.
    LaunchFailed { jitter: f64 },
    /// A probe came back.
    Probe { healthy: bool },
    /// Somebody else answers on the port that this process was given.
    PortTaken,
    /// The supervisor lets this suspect be replaced.
    Eject,
    /// The process says that it is stopping, though nobody here told it to.
    Leaving,
    /// The process has a successor, or is not wanted any more.
    Retire,
    /// A retired process has answered its last request.
    Idle,
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
    /// A candidate that is ready.
    Standby,
    Online {
        since: Instant,
    },
    /// Retired; finishes what it has.
    Draining {
        until: Instant,
    },
    /// Told to go; `kill_at` is `None` once SIGKILL was sent.
    Stopping {
        then: Then,
        online: Duration,
        kill_at: Option<Instant>,
    },
    Backoff {
        until: Instant,
    },
    Stopped,
}

/// What follows the end of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Restart(Reason),
    StayDown,
}

/// What became of a slot's processes, planned changes apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct History {
    /// Starts after the first one.
    pub restarts: u64,
    /// Why the last of them was necessary.
    pub last_reason: Option<Reason>,
}

#[derive(Debug)]
pub struct Slot {
    pub id: WorkerId,
    limits: Limits,
    state: State,
    candidate: bool,
    backoff: Backoff,
    history: History,
    misses: u32,
    passes: u32,
}

impl Slot {
    /// A slot whose first process is to be launched at `now`, as by [`Action::Launch`].
    pub fn new(id: WorkerId, limits: Limits, now: Instant) -> Self {
        Self {
            id,
            limits,
            state: State::Starting { since: now },
            candidate: false,
            backoff: Backoff::default(),
            history: History::default(),
            misses: 0,
            passes: 0,
        }
    }

    /// As [`Self::new`], on trial.
    pub fn candidate(id: WorkerId, limits: Limits, now: Instant) -> Self {
        Self { candidate: true, ..Self::new(id, limits, now) }
    }

    /// The trial is over: this candidate, which stands by, takes the place of
    /// the slot with this history, if there was one.
    pub fn promote(&mut self, history: Option<History>, now: Instant) -> Vec<Action> {
        debug_assert!(self.is_standby(), "only a ready candidate is promoted");
        self.candidate = false;
        self.history = history.unwrap_or_default();
        self.state = State::Online { since: now };
        self.misses = 0;
        vec![Action::Publish]
    }

    pub fn handle(&mut self, event: Event, now: Instant) -> Vec<Action> {
        match event {
            Event::Probe { healthy } => self.probed(healthy, now),
            // No fault of the process, so a candidate has another try as well.
            Event::PortTaken => self.stop(Then::Restart(Reason::PortTaken), now),
            Event::Eject => self.stop(self.after(Reason::Hang), now),
            Event::Leaving => self.leaving(now),
            Event::Retire => self.retire(now),
            Event::Idle => self.stop_draining(now),
            Event::Exited { jitter } | Event::LaunchFailed { jitter } => self.exited(jitter, now),
            Event::Due => self.on_due(now),
            Event::Stop => self.stop(Then::StayDown, now),
            Event::Kill => self.kill(now),
        }
    }

    /// A candidate is not started again.
    fn after(&self, reason: Reason) -> Then {
        if self.candidate { Then::StayDown } else { Then::Restart(reason) }
    }

    fn probed(&mut self, healthy: bool, now: Instant) -> Vec<Action> {
        if healthy {
            self.misses = 0;
            self.passes = self.passes.saturating_add(1);
        } else {
            self.misses = self.misses.saturating_add(1);
            self.passes = 0;
        }
        if !self.is_starting() || self.passes < self.limits.rise {
            return vec![];
        }
        self.misses = 0;
        if self.candidate {
            self.state = State::Standby;
            return vec![];
        }
        self.state = State::Online { since: now };
        vec![Action::Publish]
    }

    fn stop(&mut self, next: Then, now: Instant) -> Vec<Action> {
        match self.state {
            State::Backoff { .. } => {
                self.state = State::Stopped;
                return vec![];
            }
            // On its way out already: only what follows may change, so that it is
            // not started again.
            State::Stopping { ref mut then, .. } => {
                if next == Then::StayDown {
                    *then = next;
                }
                return vec![];
            }
            State::Stopped => return vec![],
            State::Starting { .. } | State::Standby | State::Online { .. } | State::Draining { .. } => {}
        }
        let online = self.time_online(now);
        self.state = State::Stopping { then: next, online, kill_at: Some(now + self.limits.kill) };
        vec![Action::Withdraw, Action::Terminate]
    }

    fn leaving(&mut self, now: Instant) -> Vec<Action> {
        if !matches!(self.state, State::Starting { .. } | State::Standby | State::Online { .. }) {
            return vec![];
        }
        let kill_at = Some(now + self.limits.drain + self.limits.kill);
        let (then, online) = (self.after(Reason::Crash), self.time_online(now));
        self.state = State::Stopping { then, online, kill_at };
        vec![Action::Withdraw]
    }

    fn retire(&mut self, now: Instant) -> Vec<Action> {
        if matches!(self.state, State::Online { .. }) {
            self.state = State::Draining { until: now + self.limits.drain };
            return vec![Action::Withdraw];
        }
        self.stop(Then::StayDown, now)
    }

    fn stop_draining(&mut self, now: Instant) -> Vec<Action> {
        if self.is_draining() { self.stop(Then::StayDown, now) } else { vec![] }
    }

    fn kill(&mut self, now: Instant) -> Vec<Action> {
        let mut actions = self.stop(Then::StayDown, now);
        if let State::Stopping { ref mut kill_at, .. } = self.state {
            *kill_at = None;
            actions.push(Action::Kill);
        }
        actions
    }

    fn exited(&mut self, jitter: f64, now: Instant) -> Vec<Action> {
        let online = self.time_online(now);
        let then = match self.state {
            State::Stopping { then, .. } => then,
            State::Draining { .. } | State::Stopped => Then::StayDown,
            State::Starting { .. } | State::Standby | State::Online { .. } | State::Backoff { .. } => {
                self.after(Reason::Crash)
            }
        };
        let Then::Restart(reason) = then else {
            self.state = State::Stopped;
            return vec![Action::Withdraw];
        };
        self.history.last_reason = Some(reason);
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
            State::Starting { .. } => self.stop(self.after(Reason::SlowStart), now),
            State::Draining { .. } => self.stop(Then::StayDown, now),
            State::Stopping { ref mut kill_at, .. } => {
                *kill_at = None;
                vec![Action::Kill]
            }
            State::Backoff { .. } => self.relaunch(now),
            State::Standby | State::Online { .. } | State::Stopped => vec![],
        }
    }

    fn relaunch(&mut self, now: Instant) -> Vec<Action> {
        self.state = State::Starting { since: now };
        self.history.restarts += 1;
        self.misses = 0;
        self.passes = 0;
        vec![Action::Launch]
    }

    fn time_online(&self, now: Instant) -> Duration {
        match self.state {
            State::Online { since } => now.saturating_duration_since(since),
            State::Stopping { online, .. } => online,
            _ => Duration::ZERO,
        }
    }

    /// When [`Event::Due`] is next to be sent.
    pub fn due(&self) -> Option<Instant> {
        match self.state {
            State::Starting { since } => Some(since + self.limits.startup),
            State::Draining { until } => Some(until),
            State::Stopping { kill_at, .. } => kill_at,
            State::Backoff { until } => Some(until),
            State::Standby | State::Online { .. } | State::Stopped => None,
        }
    }

    pub fn state(&self) -> WorkerState {
        match self.state {
            State::Starting { .. } | State::Standby => WorkerState::Starting,
            State::Online { .. } => WorkerState::Online,
            State::Draining { .. } | State::Stopping { then: Then::StayDown, .. } => WorkerState::Draining,
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
            State::Starting { since } if !self.candidate => Some(since),
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
        matches!(self.state, State::Stopping { then: Then::Restart(Reason::Hang), .. })
    }

    pub fn is_starting(&self) -> bool {
        matches!(self.state, State::Starting { .. })
    }

    /// A candidate that is ready to be promoted.
    pub fn is_standby(&self) -> bool {
        matches!(self.state, State::Standby)
    }

    pub fn is_draining(&self) -> bool {
        matches!(self.state, State::Draining { .. })
    }

    pub fn is_stopped(&self) -> bool {
        matches!(self.state, State::Stopped)
    }

    /// Will not serve any more, or not again by itself.
    pub fn is_ending(&self) -> bool {
        matches!(self.state, State::Draining { .. } | State::Stopping { .. } | State::Stopped)
    }

    /// Will not be online again, not with another process either.
    pub fn is_given_up(&self) -> bool {
        self.is_ending() && !matches!(self.state, State::Stopping { then: Then::Restart(_), .. })
    }

    /// Did a process of it end before its time?
    pub fn has_failed(&self) -> bool {
        self.history.restarts > 0 || matches!(self.state, State::Backoff { .. })
    }

    pub fn history(&self) -> History {
        self.history
    }
}

/// May this suspect be taken out? Always while another worker answers its
/// probes; when none does, the fault may lie elsewhere, and then only one at a
/// time is replaced, so that probes alone never take a whole cluster down.
pub fn may_eject<'a>(slots: impl Iterator<Item = &'a Slot> + Clone, suspect: WorkerId) -> bool {
    let mut others = slots.filter(|slot| slot.id != suspect);
    let any_answers = others.clone().any(Slot::is_answering);
    let none_out = !others.any(|slot| slot.is_ejected() || slot.is_starting());
    any_answers || none_out
}

#[cfg(test)]
#[path = "slot_tests.rs"]
mod tests;
