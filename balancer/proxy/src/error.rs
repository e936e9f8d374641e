//! Why a request got no worker's response.

use std::io;
use std::time::Duration;

use balancer_http1::HttpError;
use balancer_pool::PickError;

/// Why there is no connection to a worker.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("the worker did not accept a connection within {0:?}")]
    Timeout(Duration),
    #[error("the worker refused the connection")]
    Refused,
    #[error("the connection could not be made: {0}")]
    Failed(Box<pingora::Error>),
}

/// Why a request got no worker's response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyError {
    #[error("no worker is ready")]
    NoWorkerReady,
    /// All workers were at their limit, and the queue was full.
    #[error(
        "every worker has as many requests as it may (--max-concurrency), and the queue is full (--queue)"
    )]
    QueueFull,
    /// All workers stayed at their limit for the whole queue timeout.
    #[error(
        "every worker has as many requests as it may (--max-concurrency), and none became free within {0:?} \
         (--queue-timeout)"
    )]
    QueueTimeout(Duration),
    /// All workers had as many upgraded connections as they may.
    #[error("every worker has as many upgraded connections as it may (--max-tunnels)")]
    MaxTunnels,
    /// The client ended its sending side while the request waited for a worker.
    #[error("the client ended its sending side while it waited")]
    ClientHalfClosed,
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The worker's connection ended before the response had begun.
    #[error("the worker closed the connection before it had answered")]
    WorkerClosed,
    /// The worker's connection broke before the response had begun.
    #[error("the worker broke the connection before it had answered: {0}")]
    WorkerReset(io::Error),
    /// The worker did not take the request, or did not answer it, in time.
    #[error("the worker did not answer within {0:?} (--response-timeout)")]
    ResponseTimeout(Duration),
    /// The worker was to end, and had not answered by then.
    #[error("the worker did not answer before it had to end (--drain-timeout)")]
    DrainTimeout,
    /// The worker sent something that is no valid response.
    #[error("the worker's response is not valid: {0}")]
    InvalidResponse(HttpError),
}

impl From<PickError> for ProxyError {
    fn from(error: PickError) -> Self {
        match error {
            PickError::NoWorkerReady => Self::NoWorkerReady,
            PickError::QueueFull => Self::QueueFull,
            PickError::QueueTimeout(timeout) => Self::QueueTimeout(timeout),
            PickError::MaxTunnels => Self::MaxTunnels,
        }
    }
}
