//! What the serving threads run.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::accepted::{AcceptedSocket, ListenerOptions};

/// Serves the connections of a thread.
pub trait Service: Send + Sync + 'static {
    /// Time between two calls of [`Self::maintain`].
    const MAINTENANCE_INTERVAL: Duration;

    /// Serves one connection until it ends.
    fn serve(
        self: &Arc<Self>,
        socket: AcceptedSocket,
        options: &Arc<ListenerOptions>,
    ) -> impl Future<Output = ()> + Send;

    /// Changes when [`Self::maintain`] is to be called before its time.
    fn changes(&self) -> watch::Receiver<()>;

    /// Runs now and then on every serving thread.
    fn maintain(&self);

    /// Runs on every serving thread once its listeners have closed.
    fn drain(&self);

    /// The last thing that happens on the thread's event loop.
    fn end(&self);
}
