//! How the balancer answers clients in its own name, and what when a worker fails.

use std::time::Duration;

use http::header::RETRY_AFTER;
use shared_protocol::problem::{self, Problem};
use shared_protocol::{REQUEST_ID_HEADER, WORKER_ID_HEADER, WorkerId};

pub use crate::answer::Answer;
use crate::http1::Refusal;

/// Seconds after which a client may try again when no worker was ready or free.
const RETRY_AFTER_SECONDS: u32 = 1;

/// How an answer is to be written.
#[derive(Debug, Clone, Copy)]
pub struct Form<'a> {
    pub request_id: &'a [u8],
    /// It answers a HEAD request.
    pub head_only: bool,
    /// What is said of the connection, if anything.
    pub connection: Option<&'static str>,
}

impl Answer {
    /// Appends the answer to `out`, without its body to a HEAD request.
    pub fn write(&self, out: &mut Vec<u8>, form: Form<'_>) {
        let phrase = if self.status == 200 { "OK" } else { problem::title(self.status) };
        out.extend_from_slice(format!("HTTP/1.1 {} {phrase}\r\n", self.status).as_bytes());
        let mut line = |name: &str, value: &[u8]| {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        };
        line("content-type", self.content_type.as_bytes());
        line("content-length", self.body.len().to_string().as_bytes());
        line("cache-control", b"no-store");
        line(WORKER_ID_HEADER, WorkerId::PRIMARY.to_string().as_bytes());
        line(REQUEST_ID_HEADER, form.request_id);
        for (name, value) in &self.extra {
            line(name, value.as_bytes());
        }
        if let Some(connection) = form.connection {
            line("connection", connection.as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        if !form.head_only {
            out.extend_from_slice(&self.body);
        }
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        let answer = Self::problem(Problem::new(refusal.status, refusal.detail));
        match refusal.status {
            405 => answer.with("allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
            503 => answer.with(RETRY_AFTER.as_str(), RETRY_AFTER_SECONDS),
            _ => answer,
        }
    }
}

/// Why a request got no worker's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
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
    /// The worker's connection ended before the answer had begun.
    Died,
    /// The worker did not take the request, or not answer it, in time.
    Slow,
    /// What came is no answer.
    Malformed(Refusal),
}

/// What a client is told of a request that failed for good.
pub fn for_fault(fault: &Fault, worker: Option<WorkerId>, attempts: usize) -> Answer {
    let who = worker.map_or_else(|| "a worker".to_owned(), |id| format!("worker {id}"));
    Answer::problem(match fault {
        Fault::NobodyReady if attempts == 0 => {
            let detail = "no worker is ready; try again in a moment";
            return Answer::problem(Problem::new(503, detail))
                .with(RETRY_AFTER.as_str(), RETRY_AFTER_SECONDS);
        }
        Fault::QueueFull => return busy("and as many requests as may (--queue) wait already"),
        Fault::QueueTimeout(patience) => {
            let patience = humantime::format_duration(*patience);
            return busy(&format!("and none became free within {patience} (--queue-timeout)"));
        }
        Fault::Left => return busy("and whoever ends the connection's sending side does not wait"),
        Fault::NobodyReady | Fault::Unreachable { timed_out: false } => Problem::new(502, tried(attempts)),
        Fault::Unreachable { timed_out: true } | Fault::Slow => {
            Problem::new(504, format!("{who} did not answer in time"))
        }
        Fault::Died => Problem::new(
            502,
            format!("{who} ended before it had answered; the request may have been carried out"),
        ),
        Fault::Malformed(refusal) => {
            Problem::new(502, format!("{who} gave an answer that is not valid: {}", refusal.detail))
        }
    })
}

/// All workers are at their cap.
fn busy(what_else: &str) -> Answer {
    let detail = format!(
        "every worker has as many requests as it may (--max-concurrency), {what_else}; try again in a moment"
    );
    Answer::problem(Problem::new(503, detail)).with(RETRY_AFTER.as_str(), RETRY_AFTER_SECONDS)
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
        let status = |fault| for_fault(&fault, Some(WorkerId(2)), 1).status;
        assert_eq!(status(Fault::Died), 502);
        assert_eq!(status(Fault::Unreachable { timed_out: false }), 502);
        assert_eq!(status(Fault::Unreachable { timed_out: true }), 504);
        assert_eq!(status(Fault::Slow), 504);
        assert_eq!(status(Fault::NobodyReady), 502);
        assert_eq!(status(Fault::Malformed(Refusal::bad("x"))), 502);
    }

    #[test]
    fn only_unavailability_invites_to_try_again() {
        let answer = for_fault(&Fault::NobodyReady, None, 0);
        assert_eq!((answer.status, answer.extra), (503, vec![("retry-after", "1".to_owned())]));
        assert_eq!(for_fault(&Fault::NobodyReady, None, 3).extra, []);
        for (fault, why) in [
            (Fault::QueueFull, "--queue)"),
            (Fault::QueueTimeout(Duration::from_millis(1500)), "within 1s 500ms"),
            (Fault::Left, "ends the connection"),
        ] {
            let answer = for_fault(&fault, None, 0);
            assert_eq!((answer.status, answer.extra), (503, vec![("retry-after", "1".to_owned())]));
            let text = String::from_utf8(answer.body.to_vec()).unwrap();
            assert!(text.contains("--max-concurrency") && text.contains(why), "{text}");
        }
    }

    #[test]
    fn an_answer_is_a_whole_message() {
        let mut out = Vec::new();
        let answer = Answer::json(200, &1).with("x-extra", 2);
        answer.write(&mut out, Form { request_id: b"id", head_only: false, connection: Some("close") });
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.starts_with("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1\r\n"),
            "{text}"
        );
        assert!(text.ends_with("x-request-id: id\r\nx-extra: 2\r\nconnection: close\r\n\r\n1"), "{text}");
    }
}
