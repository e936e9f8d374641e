//! Releases the requests of an open loop at their intended times.
//!
//! One pacer per thread. Idle virtual users queue for the next request; a kernel timer
//! (timerfd, nanoseconds) wakes the pacer, as tokio's own timers are too coarse
//! (1 ms). A virtual user that comes back late takes the overdue request at once, so a
//! backlog needs no memory.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

use crate::schedule::Schedule;

/// Which requests of the schedule belong to this thread.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    pub(super) first: u64,
    pub(super) stride: u64,
    /// The schedule ends before this request.
    pub(super) limit: u64,
}

/// A request to be sent now.
#[derive(Debug, Clone, Copy)]
pub(super) struct DueRequest {
    pub(super) intended: Instant,
    /// The virtual user was waiting for it: what delay there is, is the client's own.
    pub(super) was_idle: bool,
}

pub(super) struct Pacer {
    schedule: Schedule,
    origin: Instant,
    share: Share,
    next: Cell<u64>,
    waiting: RefCell<VecDeque<Rc<Waiter>>>,
    wake: Notify,
    timer: AsyncFd<OwnedFd>,
}

/// Where a waiting virtual user finds its request.
#[derive(Default)]
pub(super) struct Waiter {
    state: Cell<WaiterState>,
    waker: RefCell<Option<Waker>>,
}

#[derive(Debug, Clone, Copy, Default)]
enum WaiterState {
    #[default]
    Waiting,
    Assigned(Instant),
    Over,
}

impl Pacer {
    /// # Errors
    /// When the system has no timer left (timerfd_create(2)).
    pub(super) fn new(schedule: Schedule, origin: Instant, share: Share) -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        #[expect(
            deprecated,
            reason = "its replacement is unsafe for the sake of types that may change their descriptor; \
                      an OwnedFd cannot, and this workspace has no unsafe"
        )]
        let timer = AsyncFd::with_interest(timer, Interest::READABLE)?;
        Ok(Self {
            schedule,
            origin,
            share,
            next: Cell::new(share.first),
            waiting: RefCell::default(),
            wake: Notify::new(),
            timer,
        })
    }

    /// The next request, once it is due; `None` when the schedule is over.
    pub(super) async fn next_due(&self, waiter: &Rc<Waiter>) -> Option<DueRequest> {
        let nobody_waits = self.waiting.borrow().is_empty();
        if nobody_waits {
            let intended = self.due()?;
            if intended <= Instant::now() {
                self.advance();
                return Some(DueRequest { intended, was_idle: false });
            }
        }
        waiter.state.set(WaiterState::Waiting);
        self.waiting.borrow_mut().push_back(Rc::clone(waiter));
        if nobody_waits {
            self.wake.notify_one();
        }
        poll_fn(|cx| match waiter.state.get() {
            WaiterState::Assigned(intended) => Poll::Ready(Some(DueRequest { intended, was_idle: true })),
            WaiterState::Over => Poll::Ready(None),
            WaiterState::Waiting => {
                let mut waker = waiter.waker.borrow_mut();
                if waker.as_ref().is_none_or(|known| !known.will_wake(cx.waker())) {
                    *waker = Some(cx.waker().clone());
                }
                Poll::Pending
            }
        })
        .await
    }

    /// Hands out requests until the schedule is over.
    ///
    /// # Errors
    /// When the kernel's timer fails.
    pub(super) async fn run(&self) -> io::Result<()> {
        loop {
            if self.waiting.borrow().is_empty() {
                self.wake.notified().await;
                continue;
            }
            let Some(due) = self.due() else {
                for waiter in self.waiting.borrow_mut().drain(..) {
                    waiter.finish(WaiterState::Over);
                }
                return Ok(());
            };
            let wait = due.saturating_duration_since(Instant::now());
            if !wait.is_zero() {
                self.sleep(wait).await?;
            }
            self.release();
        }
    }

    fn release(&self) {
        let now = Instant::now();
        while let Some(due) = self.due().filter(|due| *due <= now) {
            let Some(waiter) = self.waiting.borrow_mut().pop_front() else { return };
            self.advance();
            waiter.finish(WaiterState::Assigned(due));
        }
    }

    fn due(&self) -> Option<Instant> {
        let next = self.next.get();
        if next >= self.share.limit {
            return None;
        }
        self.schedule.intended(next).map(|offset| self.origin + offset)
    }

    fn advance(&self) {
        self.next.set(self.next.get() + self.share.stride);
    }

    async fn sleep(&self, wait: Duration) -> io::Result<()> {
        let value = Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: wait.subsec_nanos().into(),
        };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::empty(), &once)?;
        // Setting the timer anew also takes back its earlier expiry, so there
        // is nothing to read from it.
        self.timer.readable().await?.clear_ready();
        Ok(())
    }
}

impl Waiter {
    fn finish(&self, state: WaiterState) {
        self.state.set(state);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}
