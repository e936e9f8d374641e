//! What a request asks of the pool, and why it may get no worker.

use std::time::Duration;

use shared_protocol::{Generation, WorkerId};

/// What a request asks of a pick.
#[derive(Debug, Clone, Copy, Default)]
pub struct PickRequest<'a> {
    /// Processes that must not be picked, as they have failed this request.
    pub excluded: &'a [Generation],
    /// The worker that the client is bound to; set only with
    /// [`Strategy::Sticky`](crate::select::Strategy::Sticky).
    pub affinity: Option<WorkerId>,
    /// Upgraded connections of a worker that is picked are fewer than this. Set only for
    /// a request that may become one, where there is such a limit.
    pub max_tunnels: Option<u64>,
}

impl PickRequest<'_> {
    #[inline]
    pub(crate) fn allows(&self, generation: Generation) -> bool {
        !self.excluded.contains(&generation)
    }
}

/// How long a request waits when no worker is ready.
#[derive(Debug, Clone, Copy)]
pub struct WaitPolicy {
    /// How long it waits while a worker is starting, or is about to start.
    pub starting: Duration,
    /// A worker is about to start when its start is at most this far away.
    pub start_horizon: Duration,
    /// How long it waits otherwise: the time in which a death that the request
    /// has just met becomes known to the pool.
    pub grace: Duration,
}

/// Why a request got no worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PickError {
    #[error("no worker is ready")]
    NoWorkerReady,
    /// All workers are at their limit, and the queue is full.
    #[error("all workers are at their limit, and the queue is full")]
    QueueFull,
    /// All workers stayed at their limit for the whole queue timeout.
    #[error("all workers stayed at their limit for {0:?}")]
    QueueTimeout(Duration),
    /// All workers have as many upgraded connections as they may.
    #[error("all workers have as many upgraded connections as they may")]
    MaxTunnels,
}
