//! How long a slot waits before its next start.
//!
//! The first death is answered at once. A slot that keeps dying waits longer
//! each time, up to a cap. The wait is drawn between nothing and that (full jitter: M.
//! Brooker, "Exponential Backoff And Jitter", 2015), so that slots do not restart in step.
//! Time spent online pays deaths back, one per [`STABLE_RUN`]: a worker that is
//! killed now and then is always replaced at once, one that dies on start is not.

use std::time::Duration;

use super::Jitter;

/// Time online that makes up for one death.
pub(crate) const STABLE_RUN: Duration = Duration::from_millis(400);
/// Wait after the second death in a row.
const BASE: Duration = Duration::from_millis(100);
/// Longest wait, before jitter.
pub(crate) const CAP: Duration = Duration::from_secs(30);

/// The deaths of a slot that no time online has paid back yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Backoff {
    deaths: u32,
}

impl Backoff {
    /// Counts a death after `online` of service (zero when the process never got
    /// ready) and returns how long to wait. The jitter takes up to all of it off.
    pub(crate) fn next(&mut self, online: Duration, jitter: Jitter) -> Duration {
        let paid_back = u32::try_from(online.as_millis() / STABLE_RUN.as_millis()).unwrap_or(u32::MAX);
        self.deaths = self.deaths.saturating_sub(paid_back).saturating_add(1);
        let Some(exponent) = self.deaths.checked_sub(2) else {
            return Duration::ZERO;
        };
        let wait = BASE.saturating_mul(2u32.saturating_pow(exponent)).min(CAP);
        wait.mul_f64(1.0 - jitter.share())
    }

    /// Service that makes up for all deaths so far; more of it changes nothing.
    #[cfg(test)]
    pub(super) fn debt(&self) -> Duration {
        STABLE_RUN * self.deaths
    }

    /// Forgets all deaths beyond so many: further ones only make waits longer.
    #[cfg(test)]
    pub(super) fn forget_beyond(&mut self, deaths: u32) {
        self.deaths = self.deaths.min(deaths);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER_READY: Duration = Duration::ZERO;

    #[test]
    fn first_restart_is_immediate_then_waits_double_up_to_the_cap() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..12).map(|_| backoff.next(NEVER_READY, Jitter::NONE).as_millis()).collect();
        assert_eq!(waits[..5], [0, 100, 200, 400, 800]);
        assert_eq!(waits[11], CAP.as_millis());
    }

    #[test]
    fn few_restarts_in_a_minute_of_dying_on_start() {
        for seed in 0..100 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut backoff = Backoff::default();
            let (mut elapsed, mut starts) = (Duration::ZERO, 0);
            while elapsed < Duration::from_secs(60) {
                elapsed += backoff.next(NEVER_READY, Jitter::new(random.u16(..)));
                starts += 1;
            }
            assert!(starts <= 16, "{starts} starts");
        }
    }

    #[test]
    fn time_online_pays_deaths_back() {
        let mut backoff = Backoff::default();
        for _ in 0..6 {
            backoff.next(NEVER_READY, Jitter::NONE);
        }
        assert_eq!(backoff.next(3 * STABLE_RUN, Jitter::NONE), Duration::from_millis(400));
        assert_eq!(backoff.next(Duration::from_secs(60), Jitter::NONE), Duration::ZERO);
        // Killed twice a second for ever: replaced at once each time.
        let half = Jitter::new(u16::MAX / 2);
        (0..100).for_each(|_| assert_eq!(backoff.next(Duration::from_millis(500), half), Duration::ZERO));
    }

    #[test]
    fn jitter_shortens_by_up_to_all() {
        let wait = |jitter| {
            let mut backoff = Backoff::default();
            backoff.next(NEVER_READY, jitter);
            backoff.next(NEVER_READY, jitter).as_millis()
        };
        let waits = [0, u16::MAX / 2, u16::MAX].map(|raw| wait(Jitter::new(raw)));
        assert_eq!(waits, [100, 50, 0]);
    }

    #[test]
    fn never_overflows() {
        let mut backoff = Backoff { deaths: u32::MAX };
        assert_eq!(backoff.next(NEVER_READY, Jitter::NONE), CAP);
    }
}
