//! Error answers: `application/problem+json` (RFC 9457).

use serde::{Deserialize, Serialize};

use crate::WorkerRef;

/// The media type of a [`Problem`] (RFC 9457, section 6.1).
pub const CONTENT_TYPE: &str = "application/problem+json";

/// A problem details object (RFC 9457, section 3).
///
/// `type` is `about:blank`, whose meaning is that `title` is the status code's
/// own phrase (section 4.2.1); what went wrong, and what to do, is in `detail`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    #[serde(rename = "type")]
    #[cfg_attr(feature = "openapi", schema(example = "about:blank"))]
    pub kind: String,
    #[cfg_attr(feature = "openapi", schema(example = "Bad Request"))]
    pub title: String,
    #[cfg_attr(feature = "openapi", schema(minimum = 400, maximum = 599, example = 400))]
    pub status: u16,
    /// What was wrong, with the field and the bound, and what to do.
    pub detail: String,
    /// The worker that answered; absent when the balancer did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<WorkerRef>,
}

impl Problem {
    /// `status` must be a registered 4xx or 5xx code that [`title`] knows.
    pub fn new(status: u16, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank".to_owned(),
            title: title(status).to_owned(),
            status,
            detail: detail.into(),
            worker: None,
        }
    }

    pub fn by(mut self, worker: WorkerRef) -> Self {
        self.worker = Some(worker);
        self
    }

    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a struct of strings and numbers always serialises")
    }
}

/// The phrase of a status code (RFC 9110, section 15; RFC 6585).
pub fn title(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        _ => "Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::WorkerId;

    #[test]
    fn has_the_members_of_rfc_9457() {
        let problem = Problem::new(404, "no such route");
        let json: serde_json::Value = serde_json::from_slice(&problem.to_json()).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "type": "about:blank", "title": "Not Found", "status": 404, "detail": "no such route"
            })
        );
        let by = problem.by(WorkerRef::new(WorkerId(2), 7));
        let json: serde_json::Value = serde_json::from_slice(&by.to_json()).unwrap();
        assert_eq!(json["worker"], serde_json::json!({"id": 2, "pid": 7}));
    }
}
