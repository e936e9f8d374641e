//! When a client must have gone on with its body.

use std::time::Duration;

use tokio::time::Instant;

use crate::limits::ProxyLimits;
use crate::timer;

/// How long a body has been waited for, against how much has come: a client that sends
/// a byte now and then must not hold a worker for ever.
#[derive(Debug, Default)]
pub(super) struct Pace {
    waited: Duration,
    waiting_since: Option<Instant>,
}

impl Pace {
    pub(super) fn begin_wait(&mut self) {
        self.waiting_since.get_or_insert_with(timer::now);
    }

    pub(super) fn end_wait(&mut self) {
        if let Some(since) = self.waiting_since.take() {
            self.waited += timer::now() - since;
        }
    }

    pub(super) fn deadline(&self, received: u64, limits: &ProxyLimits) -> Option<Instant> {
        let since = self.waiting_since?;
        let earned = Duration::from_secs(received / limits.min_body_rate.max(1));
        let left = (limits.body_timeout + earned).saturating_sub(self.waited);
        Some(since + left.min(limits.client_timeout))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn only_time_in_which_something_runs_is_waited() {
        let limits = ProxyLimits { body_timeout: 5 * SECOND, ..ProxyLimits::default() };
        let mut pace = Pace::default();
        for stopped in [30 * SECOND, Duration::ZERO] {
            timer::beat(SECOND);
            pace.begin_wait();
            tokio::time::advance(SECOND).await;
            timer::beat(SECOND);
            tokio::time::advance(stopped).await;
            pace.end_wait();
        }
        timer::beat(SECOND);
        pace.begin_wait();
        assert_eq!(pace.deadline(0, &limits), Some(timer::now() + 3 * SECOND));
        assert_eq!(pace.deadline(limits.min_body_rate, &limits), Some(timer::now() + 4 * SECOND));
    }
}
