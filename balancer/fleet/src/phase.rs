//! Where a member is in its life.
//!
//! ```text
//!            healthy × rise                  eject, leaving, stop
//! Starting ───────────────────► Online ───────────────────────────► Stopping
//!    ▲ │ deadline: Stopping     │    │ retire        drained, due  ▲ │ exited
//!    │ ▼ exited          exited │    └───────────► Draining ───────┘ ▼
//! AtGate ◄──────── Backoff ◄────┴──────────── or Stopped, when it is to stay down,
//!                                             or AtGate, when it is replaced as planned
//! ```
//!
//! A member begins at the gate. A candidate is in Standby between Starting and Online,
//! until it is promoted. Invariant: a process is published exactly while its member is
//! Online and in turn.

use std::time::{Duration, Instant};

use shared_protocol::{Generation, WorkerState};

use super::health::Health;
use super::limits::Limits;
use super::recycle::RecycleBudget;
use super::seeded::{Bug, seeded};
use super::{Jitter, PortChoice};
use shared_protocol::RestartReason;

/// One launched process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Process {
    pub generation: Generation,
    pub launched: Instant,
    pub port: PortChoice,
    pub jitter: Jitter,
}

/// What is known against a process that is not ready yet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// Its port is not known, so nobody could ask it.
    Silent,
    /// It did not answer its last probe.
    Unanswered(String),
    /// It says that it cannot start.
    Reported(String),
}

/// What follows the end of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AfterExit {
    Restart(RestartReason),
    /// The successor starts at once, as planned: the end was no failure.
    Replace,
    StayDown,
}

/// How a process that is to end is pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Escalation {
    /// SIGKILL follows at this time.
    KillAt(Instant),
    /// SIGKILL was sent.
    Killed,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Its next process is to be launched as soon as the gate lets it through.
    AtGate {
        since: Instant,
        /// Why the last one has ended; `None` before the first.
        reason: Option<RestartReason>,
    },
    Starting {
        process: Process,
        deadline: Instant,
        /// Probes in a row that were answered.
        passes: u32,
        trouble: Trouble,
    },
    /// A candidate that is ready.
    Standby {
        process: Process,
        /// Probes in a row that were missed.
        misses: u32,
        /// When it answered one last.
        heard: Instant,
    },
    Online {
        process: Process,
        since: Instant,
        health: Health,
        /// It gets requests.
        in_turn: bool,
        budget: RecycleBudget,
    },
    /// Retired, or about to be replaced; it finishes what it has.
    Draining {
        process: Process,
        until: Instant,
        next: AfterExit,
    },
    /// It is to end.
    Stopping {
        process: Process,
        /// How long it served.
        online: Duration,
        escalation: Escalation,
        next: AfterExit,
    },
    /// Waits for its next start; `reason` is why it is necessary.
    Backoff {
        until: Instant,
        reason: RestartReason,
    },
    Stopped,
}

impl Phase {
    pub fn process(&self) -> Option<&Process> {
        match self {
            Self::Starting { process, .. }
            | Self::Standby { process, .. }
            | Self::Online { process, .. }
            | Self::Draining { process, .. }
            | Self::Stopping { process, .. } => Some(process),
            Self::AtGate { .. } | Self::Backoff { .. } | Self::Stopped => None,
        }
    }

    /// When something is to be done, if nothing happens before.
    pub fn deadline(&self) -> Option<Instant> {
        match *self {
            Self::Starting { deadline, .. } => Some(deadline),
            Self::Draining { until, .. } | Self::Backoff { until, .. } => Some(until),
            Self::Stopping { escalation: Escalation::KillAt(at), .. } => Some(at),
            Self::Online { ref health, .. } => health.look_at(),
            Self::Stopping { escalation: Escalation::Killed, .. }
            | Self::AtGate { .. }
            | Self::Standby { .. }
            | Self::Stopped => None,
        }
    }

    /// How long the process has served at `now`.
    pub fn time_online(&self, now: Instant) -> Duration {
        match *self {
            Self::Online { since, .. } => now.saturating_duration_since(since),
            Self::Stopping { online, .. } => online,
            _ => Duration::ZERO,
        }
    }

    /// As operators see it.
    pub fn worker_state(&self) -> WorkerState {
        match self {
            Self::AtGate { reason: None, .. } | Self::Starting { .. } | Self::Standby { .. } => {
                WorkerState::Starting
            }
            Self::Online { in_turn: true, .. } => WorkerState::Online,
            Self::Online { in_turn: false, .. } => WorkerState::Unhealthy,
            Self::Draining { .. } | Self::Stopping { next: AfterExit::StayDown | AfterExit::Replace, .. } => {
                WorkerState::Draining
            }
            Self::Stopping { next: AfterExit::Restart(RestartReason::Hang), .. } => WorkerState::Hung,
            Self::Stopping { .. } => WorkerState::Unhealthy,
            Self::AtGate { .. } | Self::Backoff { .. } => WorkerState::Backoff,
            Self::Stopped => WorkerState::Failed,
        }
    }

    pub fn online_since(&self) -> Option<Instant> {
        match *self {
            Self::Online { since, .. } => Some(since),
            _ => None,
        }
    }

    /// The health of a process that serves, and whether it gets requests.
    pub fn turn(&self) -> Option<(&Health, bool)> {
        match self {
            Self::Online { health, in_turn, .. } => Some((health, *in_turn)),
            _ => None,
        }
    }

    pub fn is_starting(&self) -> bool {
        matches!(self, Self::Starting { .. })
    }

    pub fn is_online(&self) -> bool {
        matches!(self, Self::Online { .. })
    }

    pub fn is_stopped(&self) -> bool {
        matches!(self, Self::Stopped)
    }

    /// Being replaced because it was hung.
    pub fn is_ejected(&self) -> bool {
        matches!(
            self,
            Self::Stopping { next: AfterExit::Restart(RestartReason::Hang), .. }
                | Self::Backoff { reason: RestartReason::Hang, .. }
                | Self::AtGate { reason: Some(RestartReason::Hang), .. }
        )
    }

    /// Has been given time for what it has in hand, beyond what any process has to end.
    pub fn finishes(&self, limits: &Limits, now: Instant) -> bool {
        match *self {
            Self::Draining { .. } => true,
            Self::Stopping { escalation: Escalation::KillAt(at), .. } => {
                at > now + limits.kill && !seeded(Bug::WaitsForLongLived)
            }
            _ => false,
        }
    }

    /// Does not serve any more, or not again by itself.
    pub fn is_ending(&self) -> bool {
        matches!(self, Self::Draining { .. } | Self::Stopping { .. } | Self::Stopped)
    }

    /// Will not be online again, not with another process either.
    pub fn is_given_up(&self) -> bool {
        self.is_ending() && !matches!(self, Self::Stopping { next: AfterExit::Restart(_), .. })
    }

    /// Its successor starts as soon as it has ended.
    pub fn is_being_replaced(&self) -> bool {
        matches!(
            self,
            Self::Draining { next: AfterExit::Replace, .. } | Self::Stopping { next: AfterExit::Replace, .. }
        )
    }

    /// Has its process failed to get ready, for a reason of its own?
    pub fn has_failed_to_start(&self) -> bool {
        let (Self::Stopping { next: AfterExit::Restart(reason), .. } | Self::Backoff { reason, .. }) = self
        else {
            return false;
        };
        *reason != RestartReason::PortTaken
    }
}
