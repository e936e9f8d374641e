//! What a server answered.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::HeaderMap;
use http::{Method, StatusCode};
use serde_json::Value;
use shared_http_client::Response;
use shared_protocol::WORKER_ID_HEADER;

/// Characters of a body that evidence has room for.
const QUOTED: usize = 300;

/// A complete answer, with the request that it belongs to.
#[derive(Debug, Clone)]
pub struct Answer {
    pub method: Method,
    pub path: String,
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub started: Instant,
    pub ended: Instant,
}

impl Answer {
    pub fn new(method: Method, path: String, response: Response) -> Self {
        let Response { status, headers, body, sent_at, received_at } = response;
        Self { method, path, status, headers, body, started: sent_at, ended: received_at }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub fn content_type(&self) -> Option<&str> {
        self.header("content-type").map(|kind| kind.split(';').next().unwrap_or(kind).trim())
    }

    /// `Null` when the body is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    pub fn took(&self) -> Duration {
        self.ended - self.started
    }

    /// The answer in one line, for evidence.
    pub fn quote(&self) -> String {
        let by = self.header(WORKER_ID_HEADER).map(|id| format!(" from worker {id}")).unwrap_or_default();
        let body = excerpt(&self.body);
        format!("{} {} → {}{by}: {body}", self.method, self.path, self.status.as_u16())
    }
}

/// The beginning of a body in one line that a terminal can be trusted with: what
/// a server sends may be anything.
pub fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(4 * QUOTED)]);
    let mut line = String::new();
    let mut chars = text.trim().chars();
    for c in chars.by_ref().take(QUOTED) {
        match c {
            '\n' | '\r' | '\t' => line.push(' '),
            c if c.is_control() => line.extend(c.escape_unicode()),
            c => line.push(c),
        }
    }
    if chars.next().is_some() || body.len() > 4 * QUOTED {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_sends_does_not_reach_the_terminal_as_it_is() {
        assert_eq!(excerpt(b"{\n  \"a\": 1\n}\n"), "{   \"a\": 1 }");
        assert_eq!(excerpt(b"\x1b[2Jgone\x07"), "\\u{1b}[2Jgone\\u{7}");
        assert_eq!(excerpt(&[0xff, b'a']), "\u{fffd}a");
        assert_eq!(excerpt(&[b'x'; QUOTED]).len(), QUOTED);
        assert_eq!(excerpt(&[b'x'; QUOTED + 1]).chars().count(), QUOTED + 1);
        assert_eq!(excerpt(&vec![b'x'; 1 << 20]).chars().count(), QUOTED + 1);
    }
}
