//! One timer per connection, for everything that it waits for.

use std::pin::Pin;
use std::task::Context;

use tokio::time::{Instant, Sleep, sleep_until};

/// Rings at the deadline of the last poll. Deadlines mostly move further away, request by
/// request, which costs nothing here: the timer rings at the old deadline and is then set
/// to the new one.
#[derive(Debug, Default)]
pub(crate) struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    /// Has `deadline` passed? If not, the task is woken when it has.
    pub(crate) fn poll(&mut self, deadline: Instant, cx: &mut Context<'_>) -> bool {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if deadline < sleep.deadline() {
            sleep.as_mut().reset(deadline);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if Instant::now() >= deadline {
                return true;
            }
            sleep.as_mut().reset(deadline);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn rings_at_the_latest_deadline() {
        let start = Instant::now();
        let seconds = |count| start + Duration::from_secs(count);
        let mut timer = Timer::default();
        for (first, until) in [(5, 5), (9, 9), (3, 9), (12, 12)] {
            poll_fn(|cx| {
                assert_eq!(timer.poll(seconds(first), cx), Instant::now() >= seconds(first));
                Poll::Ready(())
            })
            .await;
            poll_fn(|cx| if timer.poll(seconds(until), cx) { Poll::Ready(()) } else { Poll::Pending }).await;
            assert!(start.elapsed() < Duration::from_secs(until + 1));
        }
        assert_eq!(start.elapsed(), Duration::from_secs(12));
    }
}
