//! A timeout for every request at the price of one timer per connection.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep};

/// A point in time that moves with each request. The timer behind it is only
/// touched when it fires, not when the point moves further away, so a busy
/// connection arms it once per timeout and not once per request.
#[derive(Debug)]
pub(super) struct Deadline {
    at: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Deadline {
    pub(super) fn new(at: std::time::Instant) -> Self {
        let at = at.into();
        Self { at, timer: Box::pin(tokio::time::sleep_until(at)) }
    }

    pub(super) fn set(&mut self, at: std::time::Instant) {
        self.at = at.into();
        if self.timer.is_elapsed() || self.at < self.timer.deadline() {
            self.timer.as_mut().reset(self.at);
        }
    }

    /// Ready once the point has passed (tokio's timers: up to 1 ms later).
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if self.timer.deadline() >= self.at {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(self.at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn moves_with_each_request_and_fires_at_the_last() {
        let start = Instant::now();
        let mut deadline = Deadline::new((start + Duration::from_secs(1)).into_std());
        for second in 2..5 {
            deadline.set((start + Duration::from_secs(second)).into_std());
        }
        poll_fn(|cx| deadline.poll(cx)).await;
        assert!((start.elapsed().as_secs_f64() - 4.0).abs() < 0.01);
        // It may also come nearer again.
        deadline.set((Instant::now() + Duration::from_secs(9)).into_std());
        deadline.set((Instant::now() + Duration::from_secs(2)).into_std());
        let again = Instant::now();
        poll_fn(|cx| deadline.poll(cx)).await;
        assert!((again.elapsed().as_secs_f64() - 2.0).abs() < 0.01);
    }
}
