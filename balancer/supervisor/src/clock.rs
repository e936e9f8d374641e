//! The time that the fleet goes by: that of this machine without the spans in which this
//! process did not run.
//!
//! A process that was stopped, or whose container was frozen, finds all of its deadlines
//! passed when it goes on. What was to happen until then may have happened: an answer to a
//! probe lies in its socket. So that time does not count.

use std::time::{Duration, Instant};

/// A deadline that is met later than this was missed because nothing ran here.
const LATE: Duration = Duration::from_millis(100);

/// The time of the event loop, whose clock tests may move.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Clock {
    frozen: Duration,
}

impl Clock {
    /// The fleet's time.
    pub(crate) fn now(self) -> Instant {
        self.fleets(now())
    }

    /// A moment of this machine in the fleet's time.
    pub(crate) fn fleets(self, moment: Instant) -> Instant {
        moment.checked_sub(self.frozen).unwrap_or(moment)
    }

    /// A moment of the fleet's in this machine's time.
    pub(crate) fn machines(self, moment: Instant) -> Instant {
        moment + self.frozen
    }

    /// Waits for a moment of the fleet's; for ever for none. Says whether it came: else
    /// nothing ran here meanwhile, and it is still to come.
    pub(crate) async fn reaches(&mut self, moment: Option<Instant>) -> bool {
        let Some(moment) = moment else { return std::future::pending().await };
        tokio::time::sleep_until(self.machines(moment).into()).await;
        let late = self.now().saturating_duration_since(moment);
        if late > LATE {
            self.frozen += late;
        }
        late <= LATE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn time_in_which_nothing_ran_does_not_count() {
        let mut clock = Clock::default();
        let start = clock.now();
        assert!(clock.reaches(Some(start + SECOND)).await);
        // As after a freeze: the moment is long past when somebody looks.
        tokio::time::advance(12 * SECOND).await;
        assert!(!clock.reaches(Some(start + 2 * SECOND)).await);
        assert_eq!(clock.now(), start + 2 * SECOND);
        assert!(clock.reaches(Some(start + 3 * SECOND)).await);
        assert_eq!(clock.machines(clock.now()), now());
    }
}
