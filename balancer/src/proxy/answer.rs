//! Answers that the balancer gives in its own name.

use bytes::Bytes;
use http::Method;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use pingora::http::ResponseHeader;
use pingora::proxy::Session;
use pingora::{Error, ErrorSource, ErrorType, Result};
use serde::Serialize;
use shared::problem::{self, Problem};
use shared::protocol::WorkerId;

use super::headers::{X_REQUEST_ID, X_WORKER_ID};

/// Seconds after which a client may try again when no worker was ready.
const RETRY_AFTER_SECONDS: u32 = 1;

#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    content_type: &'static str,
    extra: Vec<(&'static str, String)>,
    body: Bytes,
}

impl Answer {
    pub fn json(status: u16, body: &impl Serialize) -> Self {
        let body = serde_json::to_vec(body).expect("answers are structs that always serialise");
        Self { status, content_type: "application/json", extra: vec![], body: body.into() }
    }

    pub fn problem(problem: Problem) -> Self {
        let body = problem.to_json().into();
        Self { status: problem.status, content_type: problem::CONTENT_TYPE, extra: vec![], body }
    }

    pub fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.extra.push((name, value.to_string()));
        self
    }

    /// Writes the answer, without its body to a HEAD request.
    ///
    /// # Errors
    /// When the client does not take it.
    pub async fn send(self, session: &mut Session, request_id: &HeaderValue) -> Result<()> {
        let mut header = ResponseHeader::build(self.status, Some(6 + self.extra.len()))?;
        header.insert_header(CONTENT_TYPE, self.content_type)?;
        header.insert_header(CONTENT_LENGTH, self.body.len())?;
        header.insert_header(CACHE_CONTROL, "no-store")?;
        header.insert_header(X_WORKER_ID, HeaderValue::from(WorkerId::PRIMARY.0))?;
        header.insert_header(X_REQUEST_ID, request_id.clone())?;
        for (name, value) in self.extra {
            header.insert_header(name, value)?;
        }
        let head_only = session.req_header().method == Method::HEAD;
        session.write_response_header(Box::new(header), head_only).await?;
        if !head_only {
            session.write_response_body(Some(self.body), true).await?;
        }
        Ok(())
    }
}

pub fn is_timeout(error: &Error) -> bool {
    matches!(error.etype(), ErrorType::ReadTimedout | ErrorType::WriteTimedout)
}

/// What a client is told of a request that failed for good; `None` when there is
/// nobody left to tell.
pub fn for_error(error: &Error, worker: Option<WorkerId>, attempts: usize) -> Option<Answer> {
    let who = worker.map_or_else(|| "a worker".to_owned(), |id| format!("worker {id}"));
    let problem = match (error.esource(), error.etype()) {
        (_, ErrorType::HTTPStatus(503)) => {
            let detail = "no worker is ready; try again in a moment";
            return Some(
                Answer::problem(Problem::new(503, detail)).with(RETRY_AFTER.as_str(), RETRY_AFTER_SECONDS),
            );
        }
        (ErrorSource::Downstream, ErrorType::ReadTimedout) => {
            Problem::new(408, "the request's body did not arrive in time")
        }
        (
            ErrorSource::Downstream,
            ErrorType::ReadError
            | ErrorType::WriteError
            | ErrorType::WriteTimedout
            | ErrorType::ConnectionClosed,
        ) => return None,
        (_, ErrorType::HTTPStatus(status @ 400..=599)) => Problem::new(*status, tried(attempts)),
        (ErrorSource::Downstream, _) => Problem::new(400, "the request is not valid HTTP"),
        (
            ErrorSource::Upstream,
            ErrorType::ConnectTimedout | ErrorType::ReadTimedout | ErrorType::WriteTimedout,
        ) => Problem::new(504, format!("{who} did not answer in time")),
        (ErrorSource::Upstream, ErrorType::ConnectRefused | ErrorType::ConnectError) => {
            Problem::new(502, tried(attempts))
        }
        (ErrorSource::Upstream, _) => Problem::new(
            502,
            format!("{who} ended before it had answered; the request may have been carried out"),
        ),
        _ => Problem::new(500, "the balancer could not handle the request"),
    };
    Some(Answer::problem(problem))
}

fn tried(attempts: usize) -> String {
    match attempts {
        1 => "the worker that was asked could not be reached".to_owned(),
        n => format!("none of the {n} workers that were asked could answer"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(source: ErrorSource, kind: ErrorType) -> Option<u16> {
        let mut error = Error::new(kind);
        error.esource = source;
        for_error(&error, Some(WorkerId(2)), 1).map(|answer| answer.status)
    }

    #[test]
    fn failures_become_the_status_that_says_whose_they_are() {
        use ErrorSource::{Downstream, Internal, Unset, Upstream};
        assert_eq!(status(Upstream, ErrorType::ConnectionClosed), Some(502));
        assert_eq!(status(Upstream, ErrorType::ConnectRefused), Some(502));
        assert_eq!(status(Upstream, ErrorType::ConnectTimedout), Some(504));
        assert_eq!(status(Upstream, ErrorType::ReadTimedout), Some(504));
        assert_eq!(status(Unset, ErrorType::HTTPStatus(503)), Some(503));
        assert_eq!(status(Unset, ErrorType::HTTPStatus(502)), Some(502));
        assert_eq!(status(Downstream, ErrorType::ReadTimedout), Some(408));
        assert_eq!(status(Downstream, ErrorType::InvalidHTTPHeader), Some(400));
        assert_eq!(status(Downstream, ErrorType::ConnectionClosed), None);
        assert_eq!(status(Internal, ErrorType::InternalError), Some(500));
    }

    #[test]
    fn only_unavailability_invites_to_try_again() {
        let answer = for_error(&Error::new(ErrorType::HTTPStatus(503)), None, 0).unwrap();
        assert_eq!(answer.extra, [("retry-after", "1".to_owned())]);
        let answer = for_error(&Error::new(ErrorType::HTTPStatus(502)), None, 3).unwrap();
        assert_eq!(answer.extra, []);
    }
}
