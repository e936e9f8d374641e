//! The time by which requests wait, and one timer per connection for all that it waits for.
//!
//! Time in which nothing runs here does not count: when this process is stopped, or its
//! container frozen, the clock stands still. A deadline that has passed is not believed
//! before the sockets were looked at either: all timers ring at once when a stopped process
//! goes on, and what they wait for may lie in the sockets.
//!
//! Every deadline of the request path is an instant of [`now`], not of [`Instant::now`].

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use balancer_pool::Clock;
use tokio::time::{Instant, Sleep, sleep_until};

/// After this time the event loop has looked at the sockets.
const LOOK: Duration = Duration::from_millis(1);
/// What is later than this was not run by a busy thread, but after one that did not run.
const LATE: Duration = Duration::from_millis(100);

/// When a thread ran.
#[derive(Debug, Clone, Copy)]
struct Running {
    /// When it asked for the time last.
    seen: Option<Instant>,
    /// When it is to beat next.
    next_beat: Option<Instant>,
    /// How long it did not run in all. It is too long by the time for which the thread had
    /// nothing to do before it was stopped, which is less than the interval of beats.
    stopped: Duration,
}

thread_local! {
    static RUNNING: Cell<Running> =
        const { Cell::new(Running { seen: None, next_beat: None, stopped: Duration::ZERO }) };
}

impl Running {
    /// The thread runs at `real`, when it should have run at `due` as well.
    fn at(self, real: Instant, due: Option<Instant>) -> Self {
        let is_late = |due: Instant| real.saturating_duration_since(due) > LATE;
        let was_stopped = self.next_beat.is_some_and(is_late) || due.is_some_and(is_late);
        let since = self.seen.filter(|_| was_stopped).unwrap_or(real);
        let stopped = self.stopped + real.saturating_duration_since(since);
        Self { seen: Some(real), stopped, ..self }
    }
}

/// Tells the clock that this thread runs, which was also to do so at `due`. Returns the
/// time as others have it, and as it is on this thread.
fn tick(due: Option<Instant>) -> (Instant, Instant) {
    let real = Instant::now();
    let running = RUNNING.get().at(real, due);
    RUNNING.set(running);
    (real, real - running.stopped)
}

/// The time on this thread, which stands still while nothing runs. Only for what this
/// thread itself measures.
#[inline]
pub(crate) fn now() -> Instant {
    tick(None).1
}

/// This thread runs, and says so again in `interval`, unless it is stopped.
pub(crate) fn beat(interval: Duration) {
    let (real, _) = tick(None);
    RUNNING.set(Running { next_beat: Some(real + interval), ..RUNNING.get() });
}

/// The output of `future`, if it comes within `duration`.
pub(crate) async fn timeout<T>(duration: Duration, future: impl Future<Output = T>) -> Option<T> {
    let (deadline, mut timer, mut future) = (now() + duration, Timer::default(), pin!(future));
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if timer.poll(deadline, cx) => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await
}

/// The clock of this thread.
pub(crate) struct ThreadClock;

impl Clock for ThreadClock {
    fn now(&self) -> Instant {
        now()
    }

    async fn sleep_until(&self, deadline: Instant) {
        let mut timer = Timer::default();
        poll_fn(|cx| if timer.poll(deadline, cx) { Poll::Ready(()) } else { Poll::Pending }).await;
    }
}

/// Rings at the deadline of the last poll. Deadlines mostly move further away, request by
/// request, which costs nothing here: the timer rings at the old deadline and is then set
/// to the new one.
#[derive(Debug, Default)]
pub(crate) struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    /// The deadline of the last poll.
    deadline: Option<Instant>,
    /// It has passed, and the sockets are being looked at.
    looks: bool,
}

impl Timer {
    /// Has `deadline` passed? If not, the task is woken when it has.
    pub(crate) fn poll(&mut self, deadline: Instant, cx: &mut Context<'_>) -> bool {
        if self.deadline != Some(deadline) {
            self.deadline = Some(deadline);
            self.looks = false;
        }
        let until = deadline + RUNNING.get().stopped;
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(until)));
        let mut due = Some(sleep.deadline());
        if until < sleep.deadline() && !self.looks {
            sleep.as_mut().reset(until);
            due = None;
        }
        while sleep.as_mut().poll(cx).is_ready() {
            let (real, now) = tick(due.take());
            let next = if now < deadline {
                self.looks = false;
                real + (deadline - now)
            } else if self.looks {
                return true;
            } else {
                self.looks = true;
                real + LOOK
            };
            sleep.as_mut().reset(next);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    async fn ring(timer: &mut Timer, deadline: Instant) {
        poll_fn(|cx| if timer.poll(deadline, cx) { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    async fn poll_once(timer: &mut Timer, deadline: Instant) -> bool {
        poll_fn(|cx| Poll::Ready(timer.poll(deadline, cx))).await
    }

    #[tokio::test(start_paused = true)]
    async fn rings_at_the_latest_deadline() {
        let start = Instant::now();
        let seconds = |count| start + Duration::from_secs(count);
        let mut timer = Timer::default();
        for (first, until) in [(5, 5), (9, 9), (3, 9), (12, 12)] {
            assert!(!poll_once(&mut timer, seconds(first)).await, "not before it has looked");
            ring(&mut timer, seconds(until)).await;
            assert!(start.elapsed() < Duration::from_secs(until + 1));
        }
        assert_eq!(start.elapsed().as_secs(), 12);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_has_passed_is_believed_after_a_look() {
        let (start, mut timer) = (Instant::now(), Timer::default());
        tokio::time::advance(5 * SECOND).await;
        let mut polls = 0;
        poll_fn(|cx| {
            polls += 1;
            if timer.poll(start, cx) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        assert_eq!((polls, start.elapsed()), (2, 5 * SECOND + LOOK));
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_nothing_ran_does_not_count() {
        let (start, mut timer) = (Instant::now(), Timer::default());
        beat(SECOND);
        let deadline = now() + 10 * SECOND;
        assert!(!poll_once(&mut timer, deadline).await);
        // Twice, so that a deadline that has been looked at once is looked at again.
        for _ in 0..2 {
            tokio::time::advance(12 * SECOND).await;
            assert!(!poll_once(&mut timer, deadline).await);
            beat(SECOND);
        }
        for second in 24..34 {
            assert_eq!(start.elapsed().as_secs(), second);
            assert!(!poll_once(&mut timer, deadline).await, "{second}");
            tokio::time::sleep(SECOND).await;
            beat(SECOND);
        }
        ring(&mut timer, deadline).await;
        assert_eq!(start.elapsed().as_secs(), 34);
        let next = now() + SECOND;
        ring(&mut timer, next).await;
        assert_eq!(start.elapsed().as_secs(), 35, "a later deadline has nothing to do with it");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_asks_first_finds_that_nothing_ran() {
        beat(SECOND);
        let before = now();
        tokio::time::advance(12 * SECOND).await;
        assert_eq!(now(), before);
        // The beat is still overdue: other tasks have their turn first.
        tokio::time::advance(SECOND).await;
        beat(SECOND);
        tokio::time::advance(SECOND).await;
        assert_eq!(now(), before + SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_thread_does_not_stop_the_clock() {
        beat(SECOND);
        let before = now();
        for count in 1..=20 {
            tokio::time::advance(SECOND + LATE).await;
            beat(SECOND);
            assert_eq!(now(), before + count * (SECOND + LATE));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_that_rings_late_moves_by_as_much() {
        let (start, mut timer) = (Instant::now(), Timer::default());
        let deadline = now() + SECOND;
        assert!(!poll_once(&mut timer, deadline).await);
        tokio::time::advance(SECOND + 3 * LATE).await;
        ring(&mut timer, deadline).await;
        assert_eq!(start.elapsed(), 2 * SECOND + 3 * LATE + LOOK);
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_in_time_has_no_timeout() {
        assert_eq!(timeout(SECOND, async { 1 }).await, Some(1));
        assert_eq!(timeout(SECOND, std::future::pending::<()>()).await, None);
    }
}
