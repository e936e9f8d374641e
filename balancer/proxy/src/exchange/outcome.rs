//! How an exchange ends.

use balancer_http1::HttpError;

use crate::download::DownloadError;
use crate::error::ProxyError;
use crate::upload::UploadError;

/// How an exchange ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The client has the whole response; `keep` when its connection may be kept.
    Complete { status: u16, sent: u64, keep: bool },
    /// The client has part of the response, and gets no more of it.
    Truncated { status: u16, sent: u64, error: DownloadError },
    /// The worker failed before the client had seen anything.
    Failed(ProxyError),
    /// The client sends no valid body.
    Rejected(HttpError),
    /// The client has closed its connection.
    ClientClosed,
}

impl From<UploadError> for Outcome {
    fn from(error: UploadError) -> Self {
        match error {
            UploadError::Rejected(error) => Self::Rejected(error),
            UploadError::ClientClosed => Self::ClientClosed,
        }
    }
}
