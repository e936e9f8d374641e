//! Requests to a worker, and what every answer of it must have.

use std::net::Ipv4Addr;

use serde_json::Value;
use shared_testkit::connection::{Answer, Connection};

/// What every answer of a worker must have.
pub(crate) trait FromWorker {
    /// The body of a successful answer.
    fn ok(self) -> Value;

    /// Asserts that this is a problem as RFC 9457 has it, with `status`, and with
    /// all of `words` in its detail.
    fn assert_problem(&self, status: u16, words: &[&str]);

    fn assert_ids(&self);
}

impl FromWorker for Answer {
    fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        assert_eq!(self.header("content-type"), Some("application/json"));
        self.assert_ids();
        self.json()
    }

    fn assert_problem(&self, status: u16, words: &[&str]) {
        let detail = self.problem(status);
        self.assert_ids();
        let problem = self.json();
        assert_eq!(problem["type"], "about:blank");
        assert!(problem["title"].as_str().is_some_and(|title| title.len() > 3), "{problem}");
        assert!(problem["worker"]["id"].is_u64() && problem["worker"]["pid"].is_u64(), "{problem}");
        for word in words {
            assert!(detail.contains(word), "{detail:?} does not name {word:?}");
        }
    }

    fn assert_ids(&self) {
        assert!(self.header("x-worker-id").is_some_and(|id| id.parse::<u32>().is_ok()), "{self:?}");
        assert!(self.header("x-request-id").is_some_and(|id| !id.is_empty()), "{self:?}");
    }
}

pub(crate) fn connect(port: u16) -> Connection {
    Connection::open((Ipv4Addr::LOCALHOST, port).into()).unwrap()
}

pub(crate) fn request(port: u16, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut connection = connect(port);
    connection.send(method, path, headers, body).unwrap();
    connection.receive(method == "HEAD").unwrap()
}

pub(crate) fn get(port: u16, path: &str) -> Answer {
    request(port, "GET", path, &[], b"")
}

pub(crate) fn delete(port: u16, path: &str) -> Answer {
    request(port, "DELETE", path, &[], b"")
}

/// Without a body and without a Content-Type.
pub(crate) fn post_empty(port: u16, path: &str) -> Answer {
    request(port, "POST", path, &[("content-length", "0")], b"")
}

pub(crate) fn post(port: u16, path: &str, json: &str) -> Answer {
    request(port, "POST", path, &[("content-type", "application/json")], json.as_bytes())
}
