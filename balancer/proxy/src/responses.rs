//! Responses in the balancer's own name, and their bytes.

use balancer_http1::HttpError;
use balancer_state::response::Response;
use shared_protocol::WorkerId;
use shared_protocol::problem::{self, Problem};

use crate::error::{ConnectError, ProxyError};
use crate::text;

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
    /// That of `Strict-Transport-Security`, if the client is to be told.
    pub(crate) hsts: Option<&'a str>,
}

/// Appends `response` to `out`, without its body to a HEAD request.
pub(crate) fn write(response: &Response, out: &mut Vec<u8>, options: WriteOptions<'_>) {
    let phrase = if response.status == 200 { "OK" } else { problem::title(response.status) };
    out.extend_from_slice(format!("HTTP/1.1 {} {phrase}\r\n", response.status).as_bytes());
    text::field(out, b"Content-Type", response.content_type.as_bytes());
    text::number(out, b"Content-Length", response.body.len() as u64);
    text::field(out, b"Cache-Control", b"no-store");
    text::number(out, text::X_WORKER_ID, u64::from(WorkerId::PRIMARY.0));
    text::field(out, text::X_REQUEST_ID, options.request_id);
    for (name, value) in &response.extra {
        text::capitalised(out, name);
        text::field(out, b"", value.as_bytes());
    }
    if let Some(hsts) = options.hsts {
        text::field(out, text::HSTS, hsts.as_bytes());
    }
    if let Some(connection) = options.connection {
        text::field(out, b"Connection", connection.as_bytes());
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

/// The response to a request that failed for good. It says what its reader can do; the
/// reason is in the log, under the id that the response carries. `attempts` is the number
/// of workers that the request was handed to.
pub(crate) fn for_proxy_error(error: &ProxyError, attempts: usize) -> Response {
    let (status, detail) = match error {
        ProxyError::NoWorkerReady if attempts == 0 => {
            return unavailable("no worker is ready; try again in a moment");
        }
        ProxyError::QueueFull | ProxyError::QueueTimeout(_) | ProxyError::MaxTunnels => {
            return unavailable("every worker is busy; try again in a moment");
        }
        ProxyError::ClientHalfClosed => {
            return unavailable(
                "every worker is busy, and a client that ends the connection's sending side does not wait; \
                 try again in a moment",
            );
        }
        ProxyError::NoWorkerReady | ProxyError::Connect(ConnectError::Refused | ConnectError::Failed(_)) => {
            (502, "no worker could be reached; try again later")
        }
        ProxyError::Connect(ConnectError::Timeout(_)) => {
            (504, "no worker could be reached in time; try again later")
        }
        ProxyError::ResponseTimeout(_) => (
            504,
            "the worker did not answer in time; the request may still be carried out: see whether it was \
             before you try again later",
        ),
        ProxyError::DrainTimeout => (
            504,
            "the worker did not answer before it had to end; the request may have been carried out: see \
             whether it was before you try again",
        ),
        ProxyError::WorkerClosed | ProxyError::WorkerReset(_) => (
            502,
            "the worker ended before it had answered; the request may have been carried out: see whether it \
             was before you try again",
        ),
        ProxyError::InvalidResponse(_) => (
            502,
            "the worker's response is not valid and cannot be passed on; the request may have been carried \
             out: whoever runs this service finds the reason in its log, by the request's id",
        ),
    };
    Response::problem(Problem::new(status, detail))
}

/// The response to a request for workers during maintenance, which is to end in so many
/// seconds.
pub(crate) fn for_maintenance(retry_after: u32) -> Response {
    let detail = "the service is down for maintenance; try again later";
    Response::problem(Problem::new(503, detail)).with(RETRY_AFTER, retry_after)
}

/// The response while nobody can take the request.
fn unavailable(detail: &'static str) -> Response {
    Response::problem(Problem::new(503, detail)).with(RETRY_AFTER, RETRY_AFTER_SECONDS)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn text(response: &Response) -> String {
        String::from_utf8(response.body.to_vec()).unwrap()
    }

    #[test]
    fn failures_become_the_status_that_says_whose_they_are() {
        let status = |error| for_proxy_error(&error, 1).status;
        assert_eq!(status(ProxyError::WorkerClosed), 502);
        assert_eq!(status(ProxyError::WorkerReset(std::io::ErrorKind::ConnectionReset.into())), 502);
        assert_eq!(status(ProxyError::Connect(ConnectError::Refused)), 502);
        assert_eq!(status(ProxyError::Connect(ConnectError::Timeout(Duration::ZERO))), 504);
        assert_eq!(status(ProxyError::ResponseTimeout(Duration::ZERO)), 504);
        assert_eq!(status(ProxyError::NoWorkerReady), 502);
        assert_eq!(status(ProxyError::InvalidResponse(HttpError::bad("x"))), 502);
    }

    #[test]
    fn only_unavailability_invites_to_try_again_at_once() {
        let retry = vec![("retry-after", "1".to_owned())];
        for error in [
            ProxyError::NoWorkerReady,
            ProxyError::QueueFull,
            ProxyError::QueueTimeout(Duration::from_millis(1500)),
            ProxyError::MaxTunnels,
            ProxyError::ClientHalfClosed,
        ] {
            let response = for_proxy_error(&error, 0);
            assert_eq!((response.status, &response.extra), (503, &retry));
        }
        assert_eq!(for_proxy_error(&ProxyError::NoWorkerReady, 3).extra, []);
    }

    #[test]
    fn clients_read_what_they_can_do_and_nothing_of_our_settings() {
        for error in [
            ProxyError::NoWorkerReady,
            ProxyError::QueueFull,
            ProxyError::QueueTimeout(Duration::from_millis(1500)),
            ProxyError::MaxTunnels,
            ProxyError::ResponseTimeout(Duration::from_secs(60)),
            ProxyError::WorkerClosed,
            ProxyError::Connect(ConnectError::Refused),
            ProxyError::InvalidResponse(HttpError::bad("there is more than one Content-Length")),
        ] {
            let text = text(&for_proxy_error(&error, 0));
            assert!(!text.contains("--") && !text.contains("Content-Length"), "{text}");
            assert!(text.contains("try again") || text.contains("in its log"), "{text}");
        }
    }

    #[test]
    fn a_response_is_a_whole_message() {
        let mut out = Vec::new();
        let response = Response::json(200, &1).with("x-extra", 2);
        write(
            &response,
            &mut out,
            WriteOptions {
                request_id: b"id",
                is_head: false,
                connection: Some("close"),
                hsts: Some("max-age=1"),
            },
        );
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.starts_with("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1\r\n"),
            "{text}"
        );
        assert!(text.ends_with("X-Request-Id: id\r\nX-Extra: 2\r\nStrict-Transport-Security: max-age=1\r\nConnection: close\r\n\r\n1"), "{text}");
    }
}
