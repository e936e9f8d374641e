//! How the balancer answers clients in its own name, and what when a worker fails.

use std::time::Duration;

use http::header::RETRY_AFTER;
use shared_protocol::problem::{self, Problem};
use shared_protocol::{REQUEST_ID_HEADER, WORKER_ID_HEADER, WorkerId};

use balancer_http1::HttpError;
use balancer_state::response::Response;

/// Seconds after which a client may try again when no worker was ready or free.
const RETRY_AFTER_SECONDS: u32 = 1;

/// How a response is to be written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WriteOptions<'a> {
    pub(crate) request_id: &'a [u8],
    /// It answers a HEAD request.
    pub(crate) head_only: bool,
    /// What is said of the connection, if anything.
    pub(crate) connection: Option<&'static str>,
}

/// Appends `response` to `out`, without its body to a HEAD request.
pub(crate) fn write(response: &Response, out: &mut Vec<u8>, options: WriteOptions<'_>) {
    let phrase = if response.status == 200 { "OK" } else { problem::title(response.status) };
    out.extend_from_slice(format!("HTTP/1.1 {} {phrase}\r\n", response.status).as_bytes());
    let mut line = |name: &str, value: &[u8]| {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    };
    line("content-type", response.content_type.as_bytes());
    line("content-length", response.body.len().to_string().as_bytes());
    line("cache-control", b"no-store");
    line(WORKER_ID_HEADER, WorkerId::PRIMARY.to_string().as_bytes());
    line(REQUEST_ID_HEADER, options.request_id);
    for (name, value) in &response.extra {
        line(name, value.as_bytes());
    }
    if let Some(connection) = options.connection {
        line("connection", connection.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    if !options.head_only {
        out.extend_from_slice(&response.body);
    }
}

/// What a client is told of a request that is not understood or not allowed.
pub(crate) fn for_http_error(error: HttpError) -> Response {
    let response = Response::problem(Problem::new(error.status, error.detail));
    match error.status {
        405 => response.with("allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
        503 => response.with(RETRY_AFTER.as_str(), RETRY_AFTER_SECONDS),
        _ => response,
    }
}

/// Why a request got no worker's response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ProxyError {
    /// No worker was ready.
    NobodyReady,
    /// All workers were at their cap, and nobody else could wait for one.
    QueueFull,
    /// All workers stayed at their cap for so long.
    QueueTimeout(Duration),
    /// The client ended its side while it waited for a worker.
    Left,
    /// No connection; took it too long?
    Unreachable { timed_out: bool },
    /// The worker's connection ended before the response had begun.
    Died,
    /// The worker did not take the request, or not answer it, in time.
    Slow,
    /// What came is no response.
    Malformed(HttpError),
}

/// What a client is told of a request that failed for good.
pub(crate) fn for_proxy_error(error: &ProxyError, worker: Option<WorkerId>, attempts: usize) -> Response {
    let who = worker.map_or_else(|| "a worker".to_owned(), |id| format!("worker {id}"));
    Response::problem(match error {
        ProxyError::NobodyReady if attempts == 0 => {
            let detail = "no worker is ready; try again in a moment";
            return Response::problem(Problem::new(503, detail))
                .with(RETRY_AFTER.as_str(), RETRY_AFTER_SECONDS);
        }
        ProxyError::QueueFull => return busy("and as many requests as may (--queue) wait already"),
        ProxyError::QueueTimeout(patience) => {
            let patience = humantime::format_duration(*patience);
            return busy(&format!("and none became free within {patience} (--queue-timeout)"));
        }
        ProxyError::Left => return busy("and whoever ends the connection's sending side does not wait"),
        ProxyError::NobodyReady | ProxyError::Unreachable { timed_out: false } => {
            Problem::new(502, tried(attempts))
        }
        ProxyError::Unreachable { timed_out: true } | ProxyError::Slow => {
            Problem::new(504, format!("{who} did not answer in time"))
        }
        ProxyError::Died => Problem::new(
            502,
            format!("{who} ended before it had answered; the request may have been carried out"),
        ),
        ProxyError::Malformed(http) => {
            Problem::new(502, format!("{who} gave a response that is not valid: {}", http.detail))
        }
    })
}

/// All workers are at their cap.
fn busy(what_else: &str) -> Response {
    let detail = format!(
        "every worker has as many requests as it may (--max-concurrency), {what_else}; try again in a moment"
    );
    Response::problem(Problem::new(503, detail)).with(RETRY_AFTER.as_str(), RETRY_AFTER_SECONDS)
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

    #[test]
    fn failures_become_the_status_that_says_whose_they_are() {
        let status = |error| for_proxy_error(&error, Some(WorkerId(2)), 1).status;
        assert_eq!(status(ProxyError::Died), 502);
        assert_eq!(status(ProxyError::Unreachable { timed_out: false }), 502);
        assert_eq!(status(ProxyError::Unreachable { timed_out: true }), 504);
        assert_eq!(status(ProxyError::Slow), 504);
        assert_eq!(status(ProxyError::NobodyReady), 502);
        assert_eq!(status(ProxyError::Malformed(HttpError::bad("x"))), 502);
    }

    #[test]
    fn only_unavailability_invites_to_try_again() {
        let response = for_proxy_error(&ProxyError::NobodyReady, None, 0);
        assert_eq!((response.status, response.extra), (503, vec![("retry-after", "1".to_owned())]));
        assert_eq!(for_proxy_error(&ProxyError::NobodyReady, None, 3).extra, []);
        for (error, why) in [
            (ProxyError::QueueFull, "--queue)"),
            (ProxyError::QueueTimeout(Duration::from_millis(1500)), "within 1s 500ms"),
            (ProxyError::Left, "ends the connection"),
        ] {
            let response = for_proxy_error(&error, None, 0);
            assert_eq!((response.status, response.extra), (503, vec![("retry-after", "1".to_owned())]));
            let text = String::from_utf8(response.body.to_vec()).unwrap();
            assert!(text.contains("--max-concurrency") && text.contains(why), "{text}");
        }
    }

    #[test]
    fn an_answer_is_a_whole_message() {
        let mut out = Vec::new();
        let response = Response::json(200, &1).with("x-extra", 2);
        write(
            &response,
            &mut out,
            WriteOptions { request_id: b"id", head_only: false, connection: Some("close") },
        );
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.starts_with("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1\r\n"),
            "{text}"
        );
        assert!(text.ends_with("x-request-id: id\r\nx-extra: 2\r\nconnection: close\r\n\r\n1"), "{text}");
    }
}
