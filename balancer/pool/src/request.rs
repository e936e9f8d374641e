//! What a request asks of the pool, and why it may get no worker.

use std::time::Duration;

use shared_protocol::{Generation, WorkerId};

use crate::rendezvous::HashKey;

/// What a request asks of a pick.
#[derive(Debug, Clone, Copy, Default)]
pub struct PickRequest<'a> {
    /// Processes that must not be picked, as they have failed this request.
    pub excluded: &'a [Generation],
    pub affinity: Option<Affinity>,
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

/// What leads a request to the worker that has served such requests before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Affinity {
    /// The worker that the client is bound to, with
    /// [`Strategy::Sticky`](crate::select::Strategy::Sticky). The request waits for that
    /// one alone while it is ready.
    Worker(WorkerId),
    /// The key of the request, with [`Strategy::Hash`](crate::select::Strategy::Hash). The
    /// request goes to the first worker in the key's order that may be picked.
    Key(HashKey),
}

impl Affinity {
    /// The only worker that the request waits for.
    #[inline]
    pub(crate) fn bound_to(self) -> Option<WorkerId> {
        match self {
            Self::Worker(id) => Some(id),
            Self::Key(_) => None,
        }
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
