//! When an exchange is to let go of its worker, because that is to end.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use balancer_pool::Lease;

use crate::timer::ThreadClock;

/// Most exchanges are over before it is worth the memory to know when their worker is to be
/// let go of: they see it when something else happens.
pub(crate) const CLOSE_WATCH_AFTER: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(crate) struct CloseWatch {
    watched: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl CloseWatch {
    /// From now on the task is woken when the worker is to be let go of.
    pub(crate) fn watch(&mut self, lease: &Lease, is_long_lived: bool) {
        let worker = Arc::clone(lease.worker());
        self.watched = Some(Box::pin(async move { worker.closes(is_long_lived, &ThreadClock).await }));
    }

    pub(crate) fn is_watched(&self) -> bool {
        self.watched.is_some()
    }

    /// Is the worker to be let go of? Nothing may follow once it is.
    #[inline]
    pub(crate) fn is_due(&mut self, lease: &Lease, cx: &mut Context<'_>) -> bool {
        lease.is_closed() || self.watched.as_mut().is_some_and(|watched| watched.as_mut().poll(cx).is_ready())
    }
}
