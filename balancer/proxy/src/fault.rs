//! Which fault an error stands for. Plain functions without I/O.

use std::io;

use balancer_state::faults::{Rejection, WorkerFault};

use crate::download::DownloadError;
use crate::error::{ConnectError, ProxyError};

/// What a response of the balancer's own, or the end of a response, stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A worker failed the request.
    Worker(WorkerFault),
    /// The balancer did not hand the request to a worker.
    Rejected(Rejection),
}

impl Fault {
    /// As it stands in logs and metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Worker(fault) => fault.name(),
            Self::Rejected(rejection) => rejection.name(),
        }
    }
}

/// The fault that a failed attempt stands for; `None` where it is the client's.
pub(crate) fn of_failure(error: &ProxyError) -> Option<Fault> {
    Some(match error {
        ProxyError::NoWorkerReady => Fault::Rejected(Rejection::NoWorkerReady),
        ProxyError::QueueFull => Fault::Rejected(Rejection::QueueFull),
        ProxyError::QueueTimeout(_) => Fault::Rejected(Rejection::QueueTimeout),
        ProxyError::MaxTunnels => Fault::Rejected(Rejection::MaxTunnels),
        ProxyError::ClientHalfClosed => return None,
        ProxyError::Connect(ConnectError::Refused) => Fault::Worker(WorkerFault::Refused),
        ProxyError::Connect(ConnectError::Timeout(_)) => Fault::Worker(WorkerFault::ConnectTimeout),
        ProxyError::Connect(ConnectError::Failed(_)) => Fault::Worker(WorkerFault::ConnectFailed),
        ProxyError::WorkerClosed => Fault::Worker(WorkerFault::Closed),
        ProxyError::WorkerReset(_) => Fault::Worker(WorkerFault::Reset),
        ProxyError::ResponseTimeout(_) => Fault::Worker(WorkerFault::ResponseTimeout),
        ProxyError::DrainTimeout => Fault::Worker(WorkerFault::DrainTimeout),
        ProxyError::InvalidResponse(_) => Fault::Worker(WorkerFault::InvalidResponse),
    })
}

/// The worker's fault that truncated a response; `None` where it is the client's.
pub(crate) fn of_truncation(error: &DownloadError) -> Option<WorkerFault> {
    match error {
        DownloadError::ClientClosed
        | DownloadError::ClientTimeout
        | DownloadError::LateClient
        | DownloadError::Drained => None,
        DownloadError::WorkerClosed | DownloadError::WorkerReset(_) | DownloadError::Codec(_) => {
            Some(WorkerFault::Truncated)
        }
        DownloadError::WorkerTimeout(_) => Some(WorkerFault::TruncatedTimeout),
        DownloadError::DrainTimeout => Some(WorkerFault::DrainTimeout),
        DownloadError::InvalidChunks(_) => Some(WorkerFault::InvalidResponse),
    }
}

/// May the failure be that of an idle connection, which a worker may close at any time,
/// just as a request was sent on it?
pub(crate) fn may_be_of_idle_connection(error: &ProxyError) -> bool {
    match error {
        ProxyError::WorkerClosed => true,
        ProxyError::WorkerReset(err) => {
            matches!(err.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use balancer_http1::HttpError;

    use super::*;

    #[test]
    fn what_clients_do_is_no_fault() {
        assert_eq!(of_failure(&ProxyError::ClientHalfClosed), None);
        assert_eq!(of_truncation(&DownloadError::ClientClosed), None);
        assert_eq!(of_truncation(&DownloadError::ClientTimeout), None);
        assert_eq!(of_truncation(&DownloadError::LateClient), None);
    }

    #[test]
    fn a_rejection_is_no_fault_of_a_worker() {
        for error in [
            ProxyError::NoWorkerReady,
            ProxyError::QueueFull,
            ProxyError::QueueTimeout(Duration::ZERO),
            ProxyError::MaxTunnels,
        ] {
            assert!(matches!(of_failure(&error), Some(Fault::Rejected(_))), "{error}");
        }
    }

    #[test]
    fn faults_are_told_apart_by_when_and_how_they_happen() {
        let bad = HttpError::bad("x");
        assert_eq!(of_failure(&ProxyError::WorkerClosed).map(Fault::name), Some("closed"));
        let invalid = of_failure(&ProxyError::InvalidResponse(bad.clone()));
        assert_eq!(invalid.map(Fault::name), Some("invalid-response"));
        let refused = of_failure(&ProxyError::Connect(ConnectError::Refused));
        assert_eq!(refused.map(Fault::name), Some("refused"));
        assert_eq!(of_truncation(&DownloadError::WorkerClosed), Some(WorkerFault::Truncated));
        assert_eq!(of_truncation(&DownloadError::DrainTimeout), Some(WorkerFault::DrainTimeout));
        assert_eq!(of_truncation(&DownloadError::WorkerClosed.of_drained_stream()), None);
        assert_eq!(of_truncation(&DownloadError::DrainTimeout.of_drained_stream()), None);
        assert_eq!(of_truncation(&DownloadError::InvalidChunks(bad)), Some(WorkerFault::InvalidResponse));
    }
}
