//! How long connections may take for what.

use std::time::Duration;

/// Longer than any balancer keeps an idle connection, so that it is always the
/// balancer that closes one: a request never meets a closing connection.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// A request's head must have arrived by then.
pub(crate) const HEAD_LIMIT: Duration = Duration::from_secs(10);
/// After an answer that ends its connection, a client may take so long to close.
pub(crate) const DISCONNECT_LIMIT: Duration = Duration::from_secs(1);
