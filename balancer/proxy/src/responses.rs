//! Responses in the balancer's own name, and their bytes.

use balancer_http1::HttpError;
use balancer_state::response::Response;
use shared_protocol::problem::{self, Problem};
use shared_protocol::{REQUEST_ID_HEADER, WORKER_ID_HEADER, WorkerId};

use crate::error::{ConnectError, ProxyError};
use crate::text::field;

const RETRY_AFTER: &str = "retry-after";
/// Seconds after which a client may try again when no worker was ready or free.
const RETRY_AFTER_SECONDS: u32 = 1;

/// How a response is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WriteOptions<'a> {
    pub(crate) request_id: &'a [u8],
    /// It answers a HEAD request.
    pub(crate) is_head: bool,
    /// The value of `Connection`, if it is needed.
    pub(crate) connection: Option<&'static str>,
}

/// Appends `response` to `out`, without its body to a HEAD request.
pub(crate) fn write(response: &Response, out: &mut Vec<u8>, options: WriteOptions<'_>) {
    let phrase = if response.status == 200 { "OK" } else { problem::title(response.status) };
    out.extend_from_slice(format!("HTTP/1.1 {} {phrase}\r\n", response.status).as_bytes());
    field(out, b"content-type", response.content_type.as_bytes());
    field(out, b"content-length", response.body.len().to_string().as_bytes());
    field(out, b"cache-control", b"no-store");
    field(out, WORKER_ID_HEADER.as_bytes(), WorkerId::PRIMARY.to_string().as_bytes());
    field(out, REQUEST_ID_HEADER.as_bytes(), options.request_id);
    for (name, value) in &response.extra {
        field(out, name.as_bytes(), value.as_bytes());
    }
    if let Some(connection) = options.connection {
        field(out, b"connection", connection.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    if !options.is_head {
        out.extend_from_slice(&response.body);
    }
}

/// The response to a request that is malformed or not allowed.
pub(crate) fn for_http_error(error: HttpError) -> Response {
    let response = Response::problem(Problem::new(error.status, error.detail));
    match error.status {
        405 => response.with("allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
        503 => response.with(RETRY_AFTER, RETRY_AFTER_SECONDS),
        _ => response,
    }
}

/// The response to a request that failed for good. `worker` is the last of the
/// `attempts` workers that it was handed to.
pub(crate) fn for_proxy_error(error: &ProxyError, worker: Option<WorkerId>, attempts: usize) -> Response {
    let who = worker.map_or_else(|| "a worker".to_owned(), |id| format!("worker {id}"));
    Response::problem(match error {
        ProxyError::NoWorkerReady if attempts == 0 => {
            let detail = "no worker is ready; try again in a moment";
            return Response::problem(Problem::new(503, detail)).with(RETRY_AFTER, RETRY_AFTER_SECONDS);
        }
        ProxyError::QueueFull => return busy("and as many requests as may (--queue) wait already"),
        ProxyError::QueueTimeout(timeout) => {
            let timeout = humantime::format_duration(*timeout);
            return busy(&format!("and none became free within {timeout} (--queue-timeout)"));
        }
        ProxyError::ClientHalfClosed => {
            return busy("and a client that ends the connection's sending side does not wait");
        }
        ProxyError::NoWorkerReady | ProxyError::Connect(ConnectError::Failed(_)) => {
            Problem::new(502, unreachable(attempts))
        }
        ProxyError::Connect(ConnectError::Timeout) | ProxyError::ResponseTimeout => {
            Problem::new(504, format!("{who} did not answer in time"))
        }
        ProxyError::WorkerClosed => Problem::new(
            502,
            format!("{who} ended before it had answered; the request may have been carried out"),
        ),
        ProxyError::InvalidResponse(http) => {
            Problem::new(502, format!("{who} gave a response that is not valid: {}", http.detail))
        }
    })
}

/// The response while all workers are at their concurrency limit.
fn busy(reason: &str) -> Response {
    let detail = format!(
        "every worker has as many requests as it may (--max-concurrency), {reason}; try again in a moment"
    );
    Response::problem(Problem::new(503, detail)).with(RETRY_AFTER, RETRY_AFTER_SECONDS)
}

fn unreachable(attempts: usize) -> String {
    match attempts {
        1 => "the worker could not be reached".to_owned(),
        n => format!("none of the {n} workers that were tried could answer"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn failures_become_the_status_that_says_whose_they_are() {
        let failed = ConnectError::Failed(pingora::Error::new_str("refused"));
        let status = |error| for_proxy_error(&error, Some(WorkerId(2)), 1).status;
        assert_eq!(status(ProxyError::WorkerClosed), 502);
        assert_eq!(status(ProxyError::Connect(failed)), 502);
        assert_eq!(status(ProxyError::Connect(ConnectError::Timeout)), 504);
        assert_eq!(status(ProxyError::ResponseTimeout), 504);
        assert_eq!(status(ProxyError::NoWorkerReady), 502);
        assert_eq!(status(ProxyError::InvalidResponse(HttpError::bad("x"))), 502);
    }

    #[test]
    fn only_unavailability_invites_to_try_again() {
        let response = for_proxy_error(&ProxyError::NoWorkerReady, None, 0);
        assert_eq!((response.status, response.extra), (503, vec![("retry-after", "1".to_owned())]));
        assert_eq!(for_proxy_error(&ProxyError::NoWorkerReady, None, 3).extra, []);
        for (error, why) in [
            (ProxyError::QueueFull, "--queue)"),
            (ProxyError::QueueTimeout(Duration::from_millis(1500)), "within 1s 500ms"),
            (ProxyError::ClientHalfClosed, "ends the connection"),
        ] {
            let response = for_proxy_error(&error, None, 0);
            assert_eq!((response.status, response.extra), (503, vec![("retry-after", "1".to_owned())]));
            let text = String::from_utf8(response.body.to_vec()).unwrap();
            assert!(text.contains("--max-concurrency") && text.contains(why), "{text}");
        }
    }

    #[test]
    fn a_response_is_a_whole_message() {
        let mut out = Vec::new();
        let response = Response::json(200, &1).with("x-extra", 2);
        write(
            &response,
            &mut out,
            WriteOptions { request_id: b"id", is_head: false, connection: Some("close") },
        );
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.starts_with("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1\r\n"),
            "{text}"
        );
        assert!(text.ends_with("x-request-id: id\r\nx-extra: 2\r\nconnection: close\r\n\r\n1"), "{text}");
    }
}
