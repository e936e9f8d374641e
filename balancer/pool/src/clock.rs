//! The time by which requests wait.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use tokio::time::Instant;

/// The time by which requests wait. It may stand still while nothing runs, so its instants
/// compare only with one another.
pub trait Clock: Sync {
    fn now(&self) -> Instant;

    /// Returns when `deadline` has passed for good.
    fn sleep_until(&self, deadline: Instant) -> impl Future<Output = ()> + Send;
}

/// The output of `future`, if it comes before `deadline`.
pub(crate) async fn until<T>(
    clock: &impl Clock,
    deadline: Instant,
    future: impl Future<Output = T>,
) -> Option<T> {
    let (mut future, mut sleep) = (pin!(future), pin!(clock.sleep_until(deadline)));
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => sleep.as_mut().poll(cx).map(|()| None),
    })
    .await
}
