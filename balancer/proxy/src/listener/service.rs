//! What the serving threads run.

use std::time::Duration;

use super::accepted::{AcceptedSocket, ListenerOptions};

/// Serves the connections of a thread.
pub trait Service: Send + Sync + 'static {
    /// Time between two calls of [`Self::maintain`].
    const MAINTENANCE_INTERVAL: Duration;

    /// Serves one connection until it ends.
    fn serve(&self, socket: AcceptedSocket, options: &ListenerOptions) -> impl Future<Output = ()> + Send;

    /// Runs now and then on every serving thread.
    fn maintain(&self);

    /// The last thing that happens on the thread's event loop.
    fn end(&self);
}
