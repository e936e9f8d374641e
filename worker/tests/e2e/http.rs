//! A small HTTP/1.1 client that sends exactly what a test says.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|err| panic!("{err}: {self:?}"))
    }

    /// The body of a successful answer.
    pub(crate) fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        assert_eq!(self.header("content-type"), Some("application/json"));
        self.assert_ids();
        self.json()
    }

    /// Asserts that this is a problem as RFC 9457 has it, with `status`, and
    /// with all of `words` in its detail.
    pub(crate) fn assert_problem(&self, status: u16, words: &[&str]) {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        self.assert_ids();
        let problem = self.json();
        assert_eq!(problem["type"], "about:blank");
        assert_eq!(problem["status"], status);
        assert!(problem["title"].as_str().is_some_and(|title| title.len() > 3), "{problem}");
        assert!(problem["worker"]["id"].is_u64() && problem["worker"]["pid"].is_u64(), "{problem}");
        let detail = problem["detail"].as_str().unwrap();
        for word in words {
            assert!(detail.contains(word), "{detail:?} does not name {word:?}");
        }
    }

    fn assert_ids(&self) {
        assert!(self.header("x-worker-id").is_some_and(|id| id.parse::<u32>().is_ok()), "{self:?}");
        assert!(self.header("x-request-id").is_some_and(|id| !id.is_empty()), "{self:?}");
    }
}

pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    pub(crate) fn open(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream: BufReader::new(stream) }
    }

    /// How long reading waits.
    pub(crate) fn set_patience(&self, patience: Duration) {
        self.stream.get_ref().set_read_timeout(Some(patience)).unwrap();
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Sends a request; `headers` are whole lines.
    pub(crate) fn request(&mut self, method: &str, path: &str, headers: &[&str], body: &[u8]) {
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n");
        for header in headers {
            text.push_str(header);
            text.push_str("\r\n");
        }
        if !body.is_empty() {
            text.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        text.push_str("\r\n");
        self.send([text.as_bytes(), body].concat());
    }

    /// The next answer, interim ones included.
    pub(crate) fn response(&mut self) -> Response {
        self.read_response(false).unwrap()
    }

    /// The answer to a HEAD request, which has no body whatever its headers say.
    pub(crate) fn response_to_head(&mut self) -> Response {
        self.read_response(true).unwrap()
    }

    pub(crate) fn read_response(&mut self, head: bool) -> std::io::Result<Response> {
        let status_line = self.line()?;
        let status = status_line.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.ok_or_else(|| std::io::Error::other(format!("no answer: {status_line:?}")))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
        let mut response = Response { status, headers, body: Vec::new() };
        if !head && status >= 200 {
            let length = response.header("content-length").and_then(|length| length.parse().ok());
            response.body = vec![0; length.expect("the worker always says how long its answer is")];
            self.stream.read_exact(&mut response.body)?;
        }
        Ok(response)
    }

    fn line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }

    /// Nothing more comes, and the other side has closed.
    pub(crate) fn is_at_end(&mut self) -> bool {
        match self.stream.read(&mut [0; 1]) {
            Ok(count) => count == 0,
            Err(err) => err.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }

    pub(crate) fn close_sending_side(&self) {
        self.stream.get_ref().shutdown(std::net::Shutdown::Write).unwrap();
    }
}

pub(crate) fn request(port: u16, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Response {
    let mut connection = Connection::open(port);
    connection.request(method, path, headers, body);
    connection.response()
}

pub(crate) fn get(port: u16, path: &str) -> Response {
    request(port, "GET", path, &[], b"")
}

pub(crate) fn delete(port: u16, path: &str) -> Response {
    request(port, "DELETE", path, &[], b"")
}

/// Without a body and without a Content-Type.
pub(crate) fn post_empty(port: u16, path: &str) -> Response {
    request(port, "POST", path, &["Content-Length: 0"], b"")
}

pub(crate) fn post(port: u16, path: &str, json: &str) -> Response {
    request(port, "POST", path, &["Content-Type: application/json"], json.as_bytes())
}
