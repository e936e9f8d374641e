//! Tells the connections of a thread that the cluster is going away.

use tokio::sync::watch;

thread_local! {
    static DRAINING: watch::Sender<bool> = watch::Sender::new(false);
}

/// Has every connection of this thread, also those to come, ask its client for no further
/// requests.
pub(crate) fn begin() {
    DRAINING.with(|draining| draining.send_replace(true));
}

/// What a connection of this thread watches.
pub(super) fn watch() -> watch::Receiver<bool> {
    DRAINING.with(watch::Sender::subscribe)
}
