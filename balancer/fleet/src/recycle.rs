//! Limits after which a worker is replaced, though nothing is wrong with it yet:
//! memory that it keeps, requests that it has had, its age.

use std::time::{Duration, Instant};

use super::{Jitter, Measurement};
use shared_protocol::RestartReason;

/// How often the counters are compared with the limits.
pub(crate) const CHECK: Duration = Duration::from_millis(100);
/// How often memory is measured.
pub(crate) const MEMORY_CHECK: Duration = Duration::from_secs(1);
/// Measurements in a row that must find too much memory in use: a spike passes.
pub(crate) const SUSTAINED: u32 = 5;
/// Wait after a replacement that did not get ready.
pub(crate) const RETRY: Duration = Duration::from_secs(10);
/// Up to this part of a limit is taken off at random, so that workers that
/// started together do not reach it together.
const JITTER: f64 = 0.2;

/// What is configured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct RecyclePolicy {
    /// Resident bytes of a worker and what it has started.
    pub max_memory: Option<u64>,
    pub max_requests: Option<u64>,
    pub max_lifetime: Option<Duration>,
}

impl RecyclePolicy {
    pub fn is_off(&self) -> bool {
        self.max_memory.is_none() && self.max_requests.is_none() && self.max_lifetime.is_none()
    }
}

/// One process's own limits, and how it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RecycleBudget {
    max_memory: Option<u64>,
    max_requests: Option<u64>,
    pub(super) until: Option<Instant>,
    /// Measurements in a row that found too much memory in use.
    over: u32,
}

impl RecycleBudget {
    /// For a process that is online since `now`.
    pub fn draw(policy: &RecyclePolicy, now: Instant, jitter: Jitter) -> Self {
        let share = 1.0 - JITTER * jitter.share();
        Self {
            max_memory: policy.max_memory,
            max_requests: policy.max_requests.map(|most| ((most as f64 * share) as u64).max(1)),
            until: policy.max_lifetime.map(|longest| now + longest.mul_f64(share)),
            over: 0,
        }
    }

    /// Takes in a measurement, and says which limit the process has reached.
    pub fn reached(&mut self, measured: &Measurement, now: Instant) -> Option<RestartReason> {
        if let Some(resident) = measured.resident {
            let over = self.max_memory.is_some_and(|most| resident > most);
            self.over = if over { self.over.saturating_add(1) } else { 0 };
        }
        if self.over >= SUSTAINED {
            Some(RestartReason::MaxMemory)
        } else if self.max_requests.is_some_and(|most| measured.requests >= most) {
            Some(RestartReason::MaxRequests)
        } else if self.until.is_some_and(|until| now >= until) {
            Some(RestartReason::MaxLifetime)
        } else {
            None
        }
    }
}

/// When workers are next compared with their limits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct RecycleTimer {
    pub next: Instant,
    pub next_memory: Instant,
}

impl RecycleTimer {
    pub(crate) fn new(now: Instant) -> Self {
        Self { next: now + CHECK, next_memory: now }
    }

    /// What is to be measured now: `None` for nothing yet, else whether memory is
    /// to be measured as well.
    pub(crate) fn tick(&mut self, policy: &RecyclePolicy, now: Instant) -> Option<bool> {
        if now < self.next {
            return None;
        }
        self.next = now + CHECK;
        let memory = policy.max_memory.is_some() && now >= self.next_memory;
        if memory {
            self.next_memory = now + MEMORY_CHECK;
        }
        Some(memory)
    }
}

#[cfg(test)]
mod tests {
    use shared_protocol::Generation;

    use super::*;

    fn budget(policy: RecyclePolicy, jitter: u16) -> (RecycleBudget, Instant) {
        let now = Instant::now();
        (RecycleBudget::draw(&policy, now, Jitter::new(jitter)), now)
    }

    fn requests(requests: u64) -> Measurement {
        Measurement { generation: Generation(1), requests, resident: None }
    }

    fn resident(resident: u64) -> Measurement {
        Measurement { resident: Some(resident), ..requests(0) }
    }

    #[test]
    fn memory_counts_when_it_stays() {
        let policy = RecyclePolicy { max_memory: Some(100), ..RecyclePolicy::default() };
        let (mut budget, now) = budget(policy, u16::MAX / 2);
        for _ in 0..3 {
            (1..SUSTAINED).for_each(|_| assert_eq!(budget.reached(&resident(101), now), None, "a spike"));
            assert_eq!(budget.reached(&resident(100), now), None);
        }
        (1..SUSTAINED).for_each(|_| assert_eq!(budget.reached(&resident(101), now), None));
        assert_eq!(budget.reached(&resident(101), now), Some(RestartReason::MaxMemory));
    }

    #[test]
    fn jitter_spreads_requests_and_age_below_the_limit() {
        let policy = RecyclePolicy {
            max_requests: Some(100),
            max_lifetime: Some(Duration::from_secs(100)),
            ..RecyclePolicy::default()
        };
        let (mut latest, now) = budget(policy, 0);
        assert_eq!(latest.reached(&requests(99), now), None);
        assert_eq!(latest.reached(&requests(100), now), Some(RestartReason::MaxRequests));
        assert_eq!(
            latest.reached(&requests(0), now + Duration::from_secs(100)),
            Some(RestartReason::MaxLifetime)
        );
        let (mut earliest, now) = budget(policy, u16::MAX);
        assert_eq!(earliest.reached(&requests(79), now), None);
        assert_eq!(earliest.reached(&requests(80), now), Some(RestartReason::MaxRequests));
        assert_eq!(
            earliest.reached(&requests(0), now + Duration::from_secs(81)),
            Some(RestartReason::MaxLifetime)
        );
    }

    #[test]
    fn a_limit_of_one_lets_one_request_through() {
        let policy = RecyclePolicy { max_requests: Some(1), ..RecyclePolicy::default() };
        let (mut budget, now) = budget(policy, u16::MAX);
        assert_eq!(budget.reached(&requests(0), now), None);
        assert_eq!(budget.reached(&requests(1), now), Some(RestartReason::MaxRequests));
    }

    #[test]
    fn without_limits_nothing_is_reached() {
        let (mut budget, now) = budget(RecyclePolicy::default(), 0);
        let much = Measurement { resident: Some(u64::MAX), ..requests(u64::MAX) };
        assert_eq!(budget.reached(&much, now + Duration::from_secs(1 << 30)), None);
        assert!(RecyclePolicy::default().is_off());
    }

    #[test]
    fn memory_is_measured_less_often_than_the_rest() {
        let policy = RecyclePolicy { max_memory: Some(1), ..RecyclePolicy::default() };
        let start = Instant::now();
        let mut timer = RecycleTimer::new(start);
        assert_eq!(timer.tick(&policy, start), None);
        let memory = (1..=20).filter(|&round| timer.tick(&policy, start + CHECK * round) == Some(true));
        assert_eq!(memory.collect::<Vec<_>>(), [1, 11]);
        assert_eq!(timer.tick(&RecyclePolicy::default(), start + CHECK * 40), Some(false));
    }
}
