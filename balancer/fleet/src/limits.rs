//! What all members go by.

use std::time::Duration;

/// Deadlines and thresholds of every member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Limits {
    /// From launch to ready.
    pub startup: Duration,
    /// From retirement to SIGTERM, while requests are in flight.
    pub drain: Duration,
    /// From when only long-lived connections are left to the end of the last of them; `None`
    /// for what is left of `drain`, which is never exceeded.
    pub stream_drain: Option<Duration>,
    pub drain_signal: DrainSignal,
    /// From SIGTERM to SIGKILL.
    pub kill: Duration,
    /// How long the requests of a worker that misses its probes may stand still.
    pub hang: Duration,
    /// Missed probes in a row that take a worker out of turn.
    pub fall: u32,
    /// Answered probes in a row that make a starting worker ready.
    pub rise: u32,
}

impl Limits {
    /// How long the last long-lived connections may take where there is so much time `left`.
    pub(crate) fn long_lived(&self, left: Duration) -> Duration {
        self.stream_drain.map_or(left, |limit| limit.min(left))
    }
}

/// What tells a program that only long-lived connections are left, so that it can say
/// good-bye on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DrainSignal {
    /// SIGTERM, which it gets early then, if it handles it.
    Terminate,
    /// Another signal, by its number. SIGTERM follows when nothing is left.
    Other(i32),
    /// Nothing does.
    Off,
}
