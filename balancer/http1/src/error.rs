//! Why a message is refused.

use std::borrow::Cow;
use std::fmt;

/// A message that is not passed on: a status, and the reason for its sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpError {
    pub status: u16,
    pub detail: Cow<'static, str>,
}

impl HttpError {
    pub const fn new(status: u16, detail: &'static str) -> Self {
        Self { status, detail: Cow::Borrowed(detail) }
    }

    /// An error with status 400.
    pub const fn bad(detail: &'static str) -> Self {
        Self::new(400, detail)
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for HttpError {}
