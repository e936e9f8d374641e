//! What all members go by.

use std::time::Duration;

/// Deadlines and thresholds of every member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Limits {
    /// From launch to ready.
    pub startup: Duration,
    /// From retirement to SIGTERM, while requests are in flight.
    pub drain: Duration,
    /// From SIGTERM to SIGKILL.
    pub kill: Duration,
    /// How long the requests of a worker that misses its probes may stand still.
    pub hang: Duration,
    /// Missed probes in a row that take a worker out of turn.
    pub fall: u32,
    /// Answered probes in a row that make a starting worker ready.
    pub rise: u32,
}
