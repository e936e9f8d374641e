//! Why a request got no worker's response.

use std::time::Duration;

use balancer_http1::HttpError;
use balancer_pool::PickError;

/// Why there is no connection to a worker.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("the connection was not made in time")]
    Timeout,
    #[error("the connection could not be made: {0}")]
    Failed(Box<pingora::Error>),
}

/// Why a request got no worker's response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyError {
    #[error("no worker was ready")]
    NoWorkerReady,
    /// All workers were at their limit, and the queue was full.
    #[error("the queue was full")]
    QueueFull,
    /// All workers stayed at their limit for the whole queue timeout.
    #[error("the request was queued for {0:?}")]
    QueueTimeout(Duration),
    /// The client ended its sending side while the request waited for a worker.
    #[error("the client ended its sending side while it waited")]
    ClientHalfClosed,
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The worker's connection ended before the response had begun.
    #[error("the worker closed the connection before it had answered")]
    WorkerClosed,
    /// The worker did not take the request, or did not answer it, in time.
    #[error("the worker did not answer in time")]
    ResponseTimeout,
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
        }
    }
}
