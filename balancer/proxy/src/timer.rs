//! One timer per connection, for everything that it waits for.
//!
//! A deadline that has passed is not believed before the sockets were looked at: when this
//! process was stopped, or its container frozen, all timers ring at once when it goes on,
//! and what they wait for may lie in the sockets. The time in which nothing ran here does
//! not count.

use std::cell::Cell;
use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// After this time the event loop has looked at the sockets.
const LOOK: Duration = Duration::from_millis(1);
/// A thread that beats later than this has not run meanwhile.
const LATE: Duration = Duration::from_millis(100);

thread_local! {
    static BEAT: Cell<Option<Instant>> = const { Cell::new(None) };
    static FROZEN: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// This thread runs. To be called every `interval`; in a longer time it did not run.
pub(crate) fn beat(interval: Duration) {
    let now = Instant::now();
    if let Some(last) = BEAT.replace(Some(now))
        && now - last > interval + LATE
    {
        FROZEN.set(FROZEN.get() + (now - last));
    }
}

/// Rings at the deadline of the last poll. Deadlines mostly move further away, request by
/// request, which costs nothing here: the timer rings at the old deadline and is then set
/// to the new one.
#[derive(Debug, Default)]
pub(crate) struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    deadline: Option<Deadline>,
}

/// The deadline of the last poll.
#[derive(Debug, Clone, Copy)]
struct Deadline {
    at: Instant,
    /// How long this thread had not run when the deadline was set.
    frozen: Duration,
    /// It has passed, and the sockets are being looked at.
    looks: bool,
}

impl Timer {
    /// Has `deadline` passed? If not, the task is woken when it has.
    pub(crate) fn poll(&mut self, deadline: Instant, cx: &mut Context<'_>) -> bool {
        let frozen = FROZEN.get();
        let new = Deadline { at: deadline, frozen, looks: false };
        let current = self.deadline.get_or_insert(new);
        if current.at != deadline {
            *current = new;
        }
        let mut until = deadline + (frozen - current.frozen);
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if until < sleep.deadline() && !current.looks {
            sleep.as_mut().reset(until);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            if now >= until {
                if current.looks {
                    return true;
                }
                current.looks = true;
                until = now + LOOK;
            }
            sleep.as_mut().reset(until);
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
                assert!(!timer.poll(seconds(first), cx), "not before it has looked");
                Poll::Ready(())
            })
            .await;
            poll_fn(|cx| if timer.poll(seconds(until), cx) { Poll::Ready(()) } else { Poll::Pending }).await;
            assert!(start.elapsed() < Duration::from_secs(until + 1));
        }
        assert_eq!(start.elapsed().as_secs(), 12);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_has_passed_is_believed_after_a_look() {
        let (start, mut timer) = (Instant::now(), Timer::default());
        tokio::time::advance(Duration::from_secs(5)).await;
        let mut polls = 0;
        poll_fn(|cx| {
            polls += 1;
            if timer.poll(start, cx) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        assert_eq!((polls, start.elapsed()), (2, Duration::from_secs(5) + LOOK));
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_nothing_ran_does_not_count() {
        let second = Duration::from_secs(1);
        let (start, mut timer) = (Instant::now(), Timer::default());
        let deadline = start + 10 * second;
        beat(second);
        assert!(!poll_fn(|cx| Poll::Ready(timer.poll(deadline, cx))).await);
        tokio::time::advance(12 * second).await;
        beat(second);
        poll_fn(|cx| if timer.poll(deadline, cx) { Poll::Ready(()) } else { Poll::Pending }).await;
        assert_eq!(start.elapsed().as_secs(), 22);
        let next = Instant::now() + second;
        poll_fn(|cx| if timer.poll(next, cx) { Poll::Ready(()) } else { Poll::Pending }).await;
        assert_eq!(start.elapsed().as_secs(), 23, "a later deadline has nothing to do with it");
    }
}
