//! How long a slot waits before its next start.
//!
//! The first death is answered at once. A slot that keeps dying waits longer
//! each time, up to a cap, with jitter so that slots do not restart in step.
//! Time spent online pays deaths back, one per [`STABLE_RUN`]: a worker that is
//! killed now and then is always replaced at once, one that dies on start is not.

use std::time::Duration;

/// Time online that makes up for one death.
const STABLE_RUN: Duration = Duration::from_millis(400);
/// Wait after the second death in a row.
const BASE: Duration = Duration::from_millis(100);
/// Longest wait, before jitter.
pub const CAP: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub struct Backoff {
    deaths: u32,
}

impl Backoff {
    /// Notes a death after `online` of service (zero when the process never got
    /// ready) and says how long to wait. `jitter` is uniform in 0.0…1.0 and
    /// takes up to a quarter off the wait.
    pub fn next(&mut self, online: Duration, jitter: f64) -> Duration {
        let paid_back = u32::try_from(online.as_millis() / STABLE_RUN.as_millis()).unwrap_or(u32::MAX);
        self.deaths = self.deaths.saturating_sub(paid_back).saturating_add(1);
        let Some(exponent) = self.deaths.checked_sub(2) else {
            return Duration::ZERO;
        };
        let wait = BASE.saturating_mul(2u32.saturating_pow(exponent)).min(CAP);
        wait.mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 4.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER_READY: Duration = Duration::ZERO;

    #[test]
    fn first_restart_is_immediate_then_waits_double_up_to_the_cap() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..12).map(|_| backoff.next(NEVER_READY, 0.0).as_millis()).collect();
        assert_eq!(waits[..5], [0, 100, 200, 400, 800]);
        assert_eq!(waits[11], CAP.as_millis());
    }

    #[test]
    fn few_restarts_in_a_minute_of_dying_on_start() {
        let mut backoff = Backoff::default();
        let (mut elapsed, mut starts) = (Duration::ZERO, 0);
        while elapsed < Duration::from_secs(60) {
            elapsed += backoff.next(NEVER_READY, 1.0);
            starts += 1;
        }
        assert!(starts <= 12, "{starts} starts");
    }

    #[test]
    fn time_online_pays_deaths_back() {
        let mut backoff = Backoff::default();
        for _ in 0..6 {
            backoff.next(NEVER_READY, 0.0);
        }
        assert_eq!(backoff.next(3 * STABLE_RUN, 0.0), Duration::from_millis(400));
        assert_eq!(backoff.next(Duration::from_secs(60), 0.0), Duration::ZERO);
        // Killed twice a second for ever: replaced at once each time.
        (0..100).for_each(|_| assert_eq!(backoff.next(Duration::from_millis(500), 0.5), Duration::ZERO));
    }

    #[test]
    fn jitter_shortens_by_up_to_a_quarter() {
        let wait = |jitter| {
            let mut backoff = Backoff::default();
            backoff.next(NEVER_READY, jitter);
            backoff.next(NEVER_READY, jitter).as_millis()
        };
        assert_eq!((wait(0.0), wait(0.5), wait(1.0)), (100, 87, 75));
    }

    #[test]
    fn never_overflows() {
        let mut backoff = Backoff { deaths: u32::MAX };
        assert_eq!(backoff.next(NEVER_READY, 0.0), CAP);
    }
}
