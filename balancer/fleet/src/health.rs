//! The two verdicts on a worker that serves.
//!
//! A worker that misses its probes may be busy, so misses alone only take it *out of
//! turn*: it gets no further requests and is back with its next answered probe. It is
//! *hung*, and replaced, when it goes on missing them and none of the requests that it holds
//! has moved for the hang timeout; with nothing in hand it has half of that time, for a
//! pause of its own. A request that waits for its client moves as far as the worker is
//! concerned. Event streams and upgraded connections are no requests here.

use std::time::{Duration, Instant};

use super::limits::Limits;
use super::seeded::{Bug, seeded};

/// Between two looks at a worker that is found to have moved, or may not be replaced yet.
const RECHECK: Duration = Duration::from_secs(1);

/// What a worker has in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Load {
    /// Requests in flight, without event streams and upgraded connections.
    pub requests: u64,
    /// Those of them that wait for their client.
    pub client_waits: u64,
    /// When one of its requests moved last.
    pub moved: Instant,
    /// Requests that were given up so far and that it may still be at work on.
    pub abandoned: u64,
    /// It holds as many requests as it may.
    pub is_full: bool,
}

impl Load {
    /// Of a worker that has never had a request, at `now`.
    pub fn none(now: Instant) -> Self {
        Self { requests: 0, client_waits: 0, moved: now, abandoned: 0, is_full: false }
    }
}

/// Why a worker is taken for hung.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hang {
    /// It has nothing in hand, and has answered nothing for so long.
    Idle(Duration),
    /// None of its requests has moved for so long.
    Stalled(Duration),
}

/// What the probes of a worker that serves have found.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Health {
    /// Probes in a row that were missed.
    pub(super) misses: u32,
    /// When it answered a probe or one of its requests moved last.
    pub(super) heard: Instant,
    /// Requests that were given up until its last answered probe.
    pub(super) abandoned: u64,
    pub(super) is_full: bool,
    /// When a worker that misses its probes is to be looked at again.
    pub(super) look_at: Option<Instant>,
}

impl Health {
    pub(crate) fn new(now: Instant) -> Self {
        Self { misses: 0, heard: now, abandoned: 0, is_full: false, look_at: None }
    }

    /// It has answered a probe.
    pub(crate) fn answered(&mut self, load: &Load, now: Instant) {
        *self = Self { abandoned: load.abandoned, ..Self::new(now) };
    }

    /// It has missed a probe. Returns why it is hung, if it is.
    pub(crate) fn missed(&mut self, load: &Load, limits: &Limits, now: Instant) -> Option<Hang> {
        self.misses = self.misses.saturating_add(1);
        self.look(load, limits, now)
    }

    /// Looks at what it has in hand. Returns why it is hung, if it is.
    pub(crate) fn look(&mut self, load: &Load, limits: &Limits, now: Instant) -> Option<Hang> {
        self.is_full = load.is_full;
        self.heard = if load.client_waits > 0 && !seeded(Bug::BlamesTheClient) {
            now
        } else {
            self.heard.max(load.moved).min(now)
        };
        self.look_at = None;
        if self.misses < limits.fall {
            return None;
        }
        let is_idle = !self.has_work(load);
        let longest = match is_idle {
            _ if seeded(Bug::KillsTheBusy) => Duration::ZERO,
            true => limits.hang / 2,
            false => limits.hang,
        };
        let due = self.heard + longest;
        self.look_at = Some(if due > now { due } else { now + RECHECK });
        let still = now.saturating_duration_since(self.heard);
        if still < longest || seeded(Bug::SparesTheStalled) {
            return None;
        }
        Some(if is_idle { Hang::Idle(still) } else { Hang::Stalled(still) })
    }

    /// Has it missed so many probes that others are to be preferred? Not while it is
    /// full: then it is busy, and gets nothing anyway.
    pub(crate) fn is_suspect(&self, limits: &Limits) -> bool {
        self.misses >= limits.fall && !self.is_full
    }

    /// Was its last probe answered?
    pub(crate) fn is_answering(&self) -> bool {
        self.misses == 0
    }

    pub(crate) fn misses(&self) -> u32 {
        self.misses
    }

    /// When it is to be looked at again, if no probe ends before.
    pub(crate) fn look_at(&self) -> Option<Instant> {
        self.look_at
    }

    /// A request that was given up since its last answer may still keep it busy.
    fn has_work(&self, load: &Load) -> bool {
        load.requests > 0 || load.abandoned != self.abandoned
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const LIMITS: Limits = Limits {
        startup: SECOND,
        drain: SECOND,
        stream_drain: None,
        drain_signal: crate::DrainSignal::Terminate,
        kill: SECOND,
        hang: Duration::from_secs(30),
        fall: 3,
        rise: 1,
    };

    /// Misses a probe every two seconds, for as long as it holds what `load` says, and
    /// returns the seconds after which it is hung.
    fn hung_after(load: impl Fn(u64, Instant) -> Load, seconds: u64) -> Option<u64> {
        let start = Instant::now();
        let mut health = Health::new(start);
        (2..=seconds).step_by(2).find(|&second| {
            health.missed(&load(second, start), &LIMITS, start + second as u32 * SECOND).is_some()
        })
    }

    #[test]
    fn with_nothing_in_hand_it_has_half_of_the_hang_timeout() {
        assert_eq!(hung_after(|_, start| Load::none(start), 14), None);
        assert_eq!(hung_after(|_, start| Load::none(start), 100), Some(16));
    }

    #[test]
    fn a_request_in_hand_buys_the_hang_timeout() {
        let one = |_, start| Load { requests: 1, ..Load::none(start) };
        assert_eq!(hung_after(one, 28), None);
        assert_eq!(hung_after(one, 100), Some(30));
        let given_up = |_, start| Load { abandoned: 1, ..Load::none(start) };
        assert_eq!(hung_after(given_up, 100), Some(30), "it may still be at work on it");
    }

    #[test]
    fn it_is_looked_at_on_the_dot() {
        let start = Instant::now();
        let (mut health, one) = (Health::new(start), Load { requests: 1, ..Load::none(start) });
        let due = start + LIMITS.hang;
        (0..3).for_each(|_| assert_eq!(health.missed(&one, &LIMITS, due - SECOND / 2), None));
        assert_eq!(health.look_at(), Some(due), "also when a probe was missed just before");
        assert!(health.look(&one, &LIMITS, due).is_some());
        assert_eq!(health.look_at(), Some(due + RECHECK), "not again at once if it may not be replaced");
    }

    #[test]
    fn what_moves_or_waits_for_its_client_is_never_hung() {
        let moves = |second, start| Load {
            requests: 2,
            moved: start + Duration::from_secs(second / 20 * 20),
            ..Load::none(start)
        };
        assert_eq!(hung_after(moves, 1_000), None);
        let waits = |_, start| Load { requests: 1, client_waits: 1, ..Load::none(start) };
        assert_eq!(hung_after(waits, 1_000), None);
    }

    #[test]
    fn one_answer_clears_it() {
        let start = Instant::now();
        let (mut health, load) = (Health::new(start), Load::none(start));
        for _ in 0..100 {
            for _ in 0..5 {
                assert_eq!(health.missed(&load, &LIMITS, start), None);
            }
            assert!(health.is_suspect(&LIMITS));
            health.answered(&load, start);
            assert!(!health.is_suspect(&LIMITS) && health.is_answering());
        }
    }

    #[test]
    fn a_full_worker_is_busy_until_its_requests_stall() {
        let start = Instant::now();
        let full = Load { requests: 1, is_full: true, ..Load::none(start) };
        let mut health = Health::new(start);
        for _ in 0..20 {
            assert_eq!(health.missed(&full, &LIMITS, start), None);
            assert!(!health.is_suspect(&LIMITS));
        }
        assert_eq!(health.look_at(), Some(start + LIMITS.hang));
        let hang = health.look(&full, &LIMITS, start + LIMITS.hang);
        assert_eq!(hang, Some(Hang::Stalled(LIMITS.hang)));
    }
}
