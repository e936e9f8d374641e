//! How long nothing has moved.

use std::time::Duration;

use tokio::time::Instant;

use crate::timer;

/// A wait that begins again whenever something moves. Whatever moves bytes touches it;
/// the clock is read only by who waits.
#[derive(Debug, Default)]
pub(crate) struct Stall {
    since: Option<Instant>,
}

impl Stall {
    /// Something has moved.
    #[inline]
    pub(crate) fn touch(&mut self) {
        self.since = None;
    }

    /// Has something moved since somebody began to wait?
    #[inline]
    pub(crate) fn has_moved(&self) -> bool {
        self.since.is_none()
    }

    /// When the wait, which begins now at the latest, has lasted for `timeout`.
    pub(crate) fn deadline(&mut self, timeout: Duration) -> Instant {
        *self.since.get_or_insert_with(timer::now) + timeout
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_deadline_stands_until_something_moves() {
        const SECOND: Duration = Duration::from_secs(1);
        let (mut stall, start) = (Stall::default(), Instant::now());
        assert_eq!(stall.deadline(5 * SECOND), start + 5 * SECOND);
        tokio::time::sleep(3 * SECOND).await;
        assert_eq!(stall.deadline(5 * SECOND), start + 5 * SECOND);
        stall.touch();
        assert_eq!(stall.deadline(5 * SECOND), start + 8 * SECOND);
    }
}
