//! Why a probe was missed.

use std::io;
use std::time::Duration;

use rustix::io::Errno;
use shared_http_client::ClientError;
use shared_protocol::WorkerRef;

/// What was wrong with the answer to a probe, or with there being none.
#[derive(Debug, thiserror::Error)]
pub enum Miss {
    #[error("could not connect: {0}")]
    Connect(#[from] io::Error),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error(transparent)]
    Client(ClientError),
    #[error("answered {0}")]
    Status(u16),
    #[error("answered with something that is not a worker's health: {0}")]
    NotHealth(#[from] serde_json::Error),
    #[error("worker {} with pid {} answered in its place", .0.id, .0.pid)]
    Stranger(WorkerRef),
    #[error("answered without the x-worker-id of this worker")]
    Nameless,
}

/// A [`Miss`] as far as it says why a worker does not get ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Nobody listens there.
    Refused,
    /// There was no answer within this time.
    Silent(Duration),
    Status(u16),
    /// Something came that is not HTTP.
    NotHttp,
    /// The connection was closed instead of an answer.
    Closed,
    Other(String),
}

impl Miss {
    /// Is it this process that has run out of something (connect(2), socket(2))?
    pub(super) fn is_ours(&self) -> bool {
        const OURS: [Errno; 5] =
            [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS, Errno::ADDRNOTAVAIL];
        let Self::Connect(err) = self else { return false };
        Errno::from_io_error(err).is_some_and(|errno| OURS.contains(&errno))
    }

    /// Does nobody listen there?
    pub(super) fn is_refused(&self) -> bool {
        matches!(self, Self::Connect(err) if err.kind() == io::ErrorKind::ConnectionRefused)
    }

    pub fn finding(&self) -> Finding {
        match self {
            Self::Connect(_) if self.is_refused() => Finding::Refused,
            Self::Timeout(limit) => Finding::Silent(*limit),
            Self::Status(status) => Finding::Status(*status),
            Self::Client(err) if err.is_not_http() => Finding::NotHttp,
            Self::Client(ClientError::Protocol(_)) => Finding::Closed,
            other => Finding::Other(other.to_string()),
        }
    }
}

impl From<ClientError> for Miss {
    fn from(err: ClientError) -> Self {
        match err {
            ClientError::Connect { source, .. } => Self::Connect(source),
            ClientError::ConnectTimeout { limit, .. } | ClientError::ResponseTimeout { limit } => {
                Self::Timeout(limit)
            }
            err => Self::Client(err),
        }
    }
}
