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
/// A worker that reaches its memory limit within this time online has met it early.
const EARLY: Duration = Duration::from_secs(60);
/// How long replacements because of memory wait when the second worker in a row has met
/// the limit early; doubles with each further one.
const HOLD: Duration = Duration::from_secs(60);
const LONGEST_HOLD: Duration = Duration::from_secs(3600);
/// Wait after a replacement that did not get ready.
pub(crate) const RETRY: Duration = Duration::from_secs(10);
/// Up to this part of a limit is taken off at random, so that workers that
/// started together do not reach it together.
const JITTER: f64 = 0.2;

/// What is configured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct RecyclePolicy {
    /// Bytes of memory of a worker and what it has started; shared pages count for each
    /// process by its share of them.
    pub max_memory: Option<u64>,
    pub max_requests: Option<u64>,
    pub max_lifetime: Option<Duration>,
}

impl RecyclePolicy {
    pub fn is_off(&self) -> bool {
        self.max_memory.is_none() && self.max_requests.is_none() && self.max_lifetime.is_none()
    }
}

/// A limit that a process has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Reached {
    pub reason: RestartReason,
    /// What it has used: bytes, or requests, or milliseconds.
    pub used: u64,
    /// The limit, in the same unit.
    pub limit: u64,
}

/// One process's own limits, and how it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RecycleBudget {
    max_memory: Option<u64>,
    max_requests: Option<u64>,
    max_lifetime: Option<Duration>,
    pub(super) until: Option<Instant>,
    /// Measurements in a row that found too much memory in use.
    over: u32,
}

impl RecycleBudget {
    /// For a process that is online since `now`.
    pub fn draw(policy: &RecyclePolicy, now: Instant, jitter: Jitter) -> Self {
        let share = 1.0 - JITTER * jitter.share();
        let max_lifetime = policy.max_lifetime.map(|longest| longest.mul_f64(share));
        Self {
            max_memory: policy.max_memory,
            max_requests: policy.max_requests.map(|most| ((most as f64 * share) as u64).max(1)),
            max_lifetime,
            until: max_lifetime.map(|longest| now + longest),
            over: 0,
        }
    }

    /// Takes in a measurement, and says which limit the process has reached.
    pub fn reached(&mut self, measured: &Measurement, now: Instant) -> Option<Reached> {
        let mut memory = None;
        if let (Some(used), Some(limit)) = (measured.memory, self.max_memory) {
            self.over = if used > limit { self.over.saturating_add(1) } else { 0 };
            memory = Some(Reached { reason: RestartReason::MaxMemory, used, limit });
        }
        if memory.is_some() && self.over >= SUSTAINED {
            return memory;
        }
        if let Some(limit) = self.max_requests
            && measured.requests >= limit
        {
            return Some(Reached { reason: RestartReason::MaxRequests, used: measured.requests, limit });
        }
        let overdue = now.checked_duration_since(self.until?)?;
        let limit = self.max_lifetime.map_or(0, millis);
        Some(Reached {
            reason: RestartReason::MaxLifetime,
            used: limit.saturating_add(millis(overdue)),
            limit,
        })
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// When workers are next compared with their limits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct RecycleTimer {
    pub next: Instant,
    pub next_memory: Instant,
    /// Workers in a row that have met the memory limit early.
    pub early: u32,
    /// Until then none is replaced because of its memory.
    pub memory_held: Option<Instant>,
}

impl RecycleTimer {
    pub(crate) fn new(now: Instant) -> Self {
        Self { next: now + CHECK, next_memory: now, early: 0, memory_held: None }
    }

    /// Are replacements because of memory held back? Forgets a hold that is over.
    pub(crate) fn is_memory_held(&mut self, now: Instant) -> bool {
        self.memory_held = self.memory_held.filter(|&until| until > now);
        self.memory_held.is_some()
    }

    /// A worker has reached its memory limit after it was `online` for so long. Returns
    /// how long its replacement has to wait: a limit that the program meets at once is
    /// too low, and replacing it over and over helps nobody.
    pub(crate) fn met_memory_limit(&mut self, online: Duration, now: Instant) -> Option<Duration> {
        if online >= EARLY {
            self.early = 0;
            return None;
        }
        self.early = self.early.saturating_add(1);
        let wait = HOLD.saturating_mul(2_u32.saturating_pow(self.early.checked_sub(2)?)).min(LONGEST_HOLD);
        self.memory_held = Some(now + wait);
        Some(wait)
    }

    /// What is to be measured now: `None` for nothing yet, else the limit of memory if
    /// that is to be measured as well.
    pub(crate) fn tick(&mut self, policy: &RecyclePolicy, now: Instant) -> Option<Option<u64>> {
        if now < self.next {
            return None;
        }
        self.next = now + CHECK;
        let memory = policy.max_memory.filter(|_| now >= self.next_memory);
        if memory.is_some() {
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
        Measurement { generation: Generation(1), requests, memory: None }
    }

    fn memory(memory: u64) -> Measurement {
        Measurement { memory: Some(memory), ..requests(0) }
    }

    /// The reason alone.
    fn reached(budget: &mut RecycleBudget, measured: &Measurement, now: Instant) -> Option<RestartReason> {
        budget.reached(measured, now).map(|reached| reached.reason)
    }

    #[test]
    fn memory_counts_when_it_stays() {
        let policy = RecyclePolicy { max_memory: Some(100), ..RecyclePolicy::default() };
        let (mut budget, now) = budget(policy, u16::MAX / 2);
        for _ in 0..3 {
            (1..SUSTAINED).for_each(|_| assert_eq!(reached(&mut budget, &memory(101), now), None, "a spike"));
            assert_eq!(reached(&mut budget, &memory(100), now), None);
        }
        (1..SUSTAINED).for_each(|_| assert_eq!(reached(&mut budget, &memory(101), now), None));
        assert_eq!(reached(&mut budget, &memory(101), now), Some(RestartReason::MaxMemory));
    }

    #[test]
    fn jitter_spreads_requests_and_age_below_the_limit() {
        let policy = RecyclePolicy {
            max_requests: Some(100),
            max_lifetime: Some(Duration::from_secs(100)),
            ..RecyclePolicy::default()
        };
        let (mut latest, now) = budget(policy, 0);
        assert_eq!(reached(&mut latest, &requests(99), now), None);
        assert_eq!(reached(&mut latest, &requests(100), now), Some(RestartReason::MaxRequests));
        assert_eq!(
            reached(&mut latest, &requests(0), now + Duration::from_secs(100)),
            Some(RestartReason::MaxLifetime)
        );
        let (mut earliest, now) = budget(policy, u16::MAX);
        assert_eq!(reached(&mut earliest, &requests(79), now), None);
        assert_eq!(reached(&mut earliest, &requests(80), now), Some(RestartReason::MaxRequests));
        assert_eq!(
            reached(&mut earliest, &requests(0), now + Duration::from_secs(81)),
            Some(RestartReason::MaxLifetime)
        );
    }

    #[test]
    fn a_limit_of_one_lets_one_request_through() {
        let policy = RecyclePolicy { max_requests: Some(1), ..RecyclePolicy::default() };
        let (mut budget, now) = budget(policy, u16::MAX);
        assert_eq!(reached(&mut budget, &requests(0), now), None);
        assert_eq!(reached(&mut budget, &requests(1), now), Some(RestartReason::MaxRequests));
    }

    #[test]
    fn without_limits_nothing_is_reached() {
        let (mut budget, now) = budget(RecyclePolicy::default(), 0);
        let much = Measurement { memory: Some(u64::MAX), ..requests(u64::MAX) };
        assert_eq!(reached(&mut budget, &much, now + Duration::from_secs(1 << 30)), None);
        assert!(RecyclePolicy::default().is_off());
    }

    #[test]
    fn memory_is_measured_less_often_than_the_rest() {
        let policy = RecyclePolicy { max_memory: Some(1), ..RecyclePolicy::default() };
        let start = Instant::now();
        let mut timer = RecycleTimer::new(start);
        assert_eq!(timer.tick(&policy, start), None);
        let memory =
            (1..=20).filter(|&round| timer.tick(&policy, start + CHECK * round) == Some(policy.max_memory));
        assert_eq!(memory.collect::<Vec<_>>(), [1, 11]);
        assert_eq!(timer.tick(&RecyclePolicy::default(), start + CHECK * 40), Some(None));
    }

    #[test]
    fn what_was_used_is_told_beside_the_limit() {
        let policy = RecyclePolicy { max_requests: Some(7), ..RecyclePolicy::default() };
        let (mut budget, now) = budget(policy, 0);
        let reached = budget.reached(&requests(9), now);
        assert_eq!(reached, Some(Reached { reason: RestartReason::MaxRequests, used: 9, limit: 7 }));
    }

    #[test]
    fn a_memory_limit_that_is_met_at_once_is_met_less_and_less_often() {
        let start = Instant::now();
        let mut timer = RecycleTimer::new(start);
        let early = Duration::from_secs(5);
        let waits: Vec<_> = (0..9).map(|_| timer.met_memory_limit(early, start)).collect();
        let minutes = |minutes: u64| Some(Duration::from_secs(60 * minutes));
        assert_eq!(waits[..4], [None, minutes(1), minutes(2), minutes(4)]);
        assert_eq!(waits[8], minutes(60));
        assert!(timer.is_memory_held(start) && !timer.is_memory_held(start + LONGEST_HOLD));
        assert_eq!(timer.met_memory_limit(EARLY, start), None, "that one has lasted");
        assert_eq!(timer.met_memory_limit(early, start), None, "once is no habit");
    }
}
