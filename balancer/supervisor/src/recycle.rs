//! Limits after which a worker is replaced, though nothing is wrong with it yet:
//! memory that it keeps, requests that it has had, its age.

use std::time::{Duration, Instant};

use shared_protocol::RestartReason as Reason;

/// How often the counters are compared with the limits.
pub const LOOK: Duration = Duration::from_millis(100);
/// How often memory is looked at.
pub const MEMORY_LOOK: Duration = Duration::from_secs(1);
/// Looks in a row that must find too much memory in use: a spike passes.
pub const SUSTAINED: u32 = 5;
/// Wait after a replacement that did not get ready.
pub const RETRY: Duration = Duration::from_secs(10);
/// Up to this part of a limit is taken off at random, so that workers that
/// started together do not reach it together.
const JITTER: f64 = 0.2;

/// What is configured.
#[derive(Debug, Clone, Copy, Default)]
pub struct Recycling {
    /// Resident bytes of a worker and what it has started.
    pub max_memory: Option<u64>,
    pub max_requests: Option<u64>,
    pub max_lifetime: Option<Duration>,
}

impl Recycling {
    pub fn is_off(&self) -> bool {
        self.max_memory.is_none() && self.max_requests.is_none() && self.max_lifetime.is_none()
    }
}

/// One process's own limits.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    max_memory: Option<u64>,
    max_requests: Option<u64>,
    until: Option<Instant>,
    /// Looks in a row that found too much memory in use.
    over: u32,
}

impl Budget {
    /// For a process that is online since `now`. `random` is uniform in 0.0…1.0.
    pub fn draw(recycling: &Recycling, now: Instant, random: f64) -> Self {
        let share = 1.0 - JITTER * random.clamp(0.0, 1.0);
        Self {
            max_memory: recycling.max_memory,
            max_requests: recycling.max_requests.map(|most| ((most as f64 * share) as u64).max(1)),
            until: recycling.max_lifetime.map(|longest| now + longest.mul_f64(share)),
            over: 0,
        }
    }

    /// Notes the resident bytes that a look has found.
    pub fn note_memory(&mut self, resident: u64) {
        let over = self.max_memory.is_some_and(|most| resident > most);
        self.over = if over { self.over.saturating_add(1) } else { 0 };
    }

    /// The limit that the process has reached.
    pub fn reached(&self, requests: u64, now: Instant) -> Option<Reason> {
        if self.over >= SUSTAINED {
            Some(Reason::MaxMemory)
        } else if self.max_requests.is_some_and(|most| requests >= most) {
            Some(Reason::MaxRequests)
        } else if self.until.is_some_and(|until| now >= until) {
            Some(Reason::MaxLifetime)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(recycling: Recycling, random: f64) -> (Budget, Instant) {
        let now = Instant::now();
        (Budget::draw(&recycling, now, random), now)
    }

    #[test]
    fn memory_counts_when_it_stays() {
        let (mut budget, now) = budget(Recycling { max_memory: Some(100), ..Recycling::default() }, 0.5);
        for _ in 0..3 {
            (1..SUSTAINED).for_each(|_| budget.note_memory(101));
            budget.note_memory(100);
        }
        assert_eq!(budget.reached(0, now), None, "spikes");
        (0..SUSTAINED).for_each(|_| budget.note_memory(101));
        assert_eq!(budget.reached(0, now), Some(Reason::MaxMemory));
    }

    #[test]
    fn jitter_spreads_requests_and_age_below_the_limit() {
        let recycling = Recycling {
            max_requests: Some(100),
            max_lifetime: Some(Duration::from_secs(100)),
            ..Recycling::default()
        };
        let (latest, now) = budget(recycling, 0.0);
        assert_eq!(latest.reached(99, now), None);
        assert_eq!(latest.reached(100, now), Some(Reason::MaxRequests));
        assert_eq!(latest.reached(0, now + Duration::from_secs(100)), Some(Reason::MaxLifetime));
        let (earliest, now) = budget(recycling, 1.0);
        assert_eq!(earliest.reached(79, now), None);
        assert_eq!(earliest.reached(80, now), Some(Reason::MaxRequests));
        assert_eq!(earliest.reached(0, now + Duration::from_secs(81)), Some(Reason::MaxLifetime));
    }

    #[test]
    fn a_limit_of_one_lets_one_request_through() {
        let (budget, now) = budget(Recycling { max_requests: Some(1), ..Recycling::default() }, 1.0);
        assert_eq!(budget.reached(0, now), None);
        assert_eq!(budget.reached(1, now), Some(Reason::MaxRequests));
    }

    #[test]
    fn without_limits_nothing_is_reached() {
        let (budget, now) = budget(Recycling::default(), 0.0);
        assert_eq!(budget.reached(u64::MAX, now + Duration::from_secs(1 << 30)), None);
        assert!(Recycling::default().is_off());
    }
}
