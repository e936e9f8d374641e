//! Failures of a request: each becomes an `application/problem+json` answer.
//!
//! A handler returns a [`Failure`]; the middleware gives it the worker's name
//! and its final form, as it does for errors that come from actix-web itself.

use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, HeaderValue, RETRY_AFTER};
use actix_web::{HttpResponse, ResponseError};
use shared_store::StoreError;

use crate::health::LOST;

/// Seconds after which a client may try again what was refused for lack of a
/// store or of a free place.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

#[derive(Debug, Clone)]
pub(crate) struct Failure {
    status: StatusCode,
    detail: String,
    allow: Option<&'static str>,
    retry: bool,
}

/// What the middleware needs to write the problem.
#[derive(Debug, Clone)]
pub(crate) struct Detail(pub(crate) String);

impl Failure {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), allow: None, retry: false }
    }

    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub(crate) fn unavailable(detail: impl Into<String>) -> Self {
        Self { retry: true, ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
    }

    /// `allow` as in the header of that name (RFC 9110, section 10.2.1).
    pub(crate) fn method_not_allowed(method: &str, allow: &'static str) -> Self {
        let detail = format!("the method {method} is not supported here; use one of: {allow}");
        Self { allow: Some(allow), ..Self::new(StatusCode::METHOD_NOT_ALLOWED, detail) }
    }
}

impl From<StoreError> for Failure {
    fn from(err: StoreError) -> Self {
        match err {
            StoreError::NotAnInteger | StoreError::Overflow => {
                Self::new(StatusCode::CONFLICT, format!("{err}; it was left as it is"))
            }
            StoreError::Full(_) => Self::new(StatusCode::INSUFFICIENT_STORAGE, err.to_string()),
            StoreError::Corrupt(_) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, err.to_string()),
            // Paths are for operators.
            StoreError::Lost(_) => Self::unavailable(format!("{LOST}; other routes work")),
            StoreError::Unavailable(_) | StoreError::Open { .. } => {
                Self::unavailable(format!("{err}; other routes work, and this one will again when it does"))
            }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl ResponseError for Failure {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::new(self.status);
        response.extensions_mut().insert(Detail(self.detail.clone()));
        let headers = response.headers_mut();
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if self.retry {
            headers.insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
        }
        response
    }
}
