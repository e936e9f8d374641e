//! A client's end of a connection, byte for byte.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::DEADLINE;

/// A connection that stays open between requests.
pub struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    pub fn open(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    pub fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> std::io::Result<()> {
        self.send_as(method, path, &[&[("host", "cluster.test")], headers].concat(), body)
    }

    /// As [`Self::send`], without a Host of its own.
    pub fn send_as(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> std::io::Result<()> {
        let mut request = format!("{method} {path} HTTP/1.1\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() {
            request.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        self.write(request.as_bytes())?;
        self.write(body)
    }

    pub fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// How long reading waits at most.
    pub fn set_read_timeout(&self, limit: Duration) -> std::io::Result<()> {
        self.stream.get_ref().set_read_timeout(Some(limit))
    }

    /// Nothing more comes, and the other side has closed.
    pub fn is_at_end(&mut self) -> bool {
        match self.stream.read(&mut [0; 1]) {
            Ok(count) => count == 0,
            Err(err) => err.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }

    /// Closes the sending side and goes on reading (shutdown(2), `SHUT_WR`).
    pub fn stop_sending(&self) -> std::io::Result<()> {
        self.stream.get_ref().shutdown(std::net::Shutdown::Write)
    }

    /// Ends it at once, which the other side sees (socket(7), `SO_LINGER`).
    pub fn reset(self) {
        let socket = self.stream.get_ref();
        rustix::net::sockopt::set_socket_linger(socket, Some(Duration::ZERO)).unwrap();
    }

    /// Reads one answer, strictly: a short or malformed one is an error.
    pub fn receive(&mut self, head_only: bool) -> std::io::Result<Answer> {
        let bad = |what: &str| std::io::Error::other(what.to_owned());
        let mut line = self.line()?;
        let status =
            line.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(|| bad("no status"))?;
        let mut headers = Vec::new();
        loop {
            line = self.line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or_else(|| bad("a header without a colon"))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut answer = Answer { status, headers, body: Vec::new() };
        if head_only || status < 200 || status == 204 || status == 304 {
            return Ok(answer);
        }
        if answer.header("transfer-encoding") == Some("chunked") {
            loop {
                let size = self.line()?;
                let size = usize::from_str_radix(size.trim(), 16).map_err(|_| bad("a bad chunk size"))?;
                let mut chunk = vec![0; size + 2];
                self.stream.read_exact(&mut chunk)?;
                answer.body.extend_from_slice(&chunk[..size]);
                if size == 0 {
                    return Ok(answer);
                }
            }
        }
        let length = answer.header("content-length").ok_or_else(|| bad("no length"))?;
        answer.body = vec![0; length.parse().map_err(|_| bad("a bad length"))?];
        self.stream.read_exact(&mut answer.body)?;
        Ok(answer)
    }

    fn line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        if !line.ends_with('\n') {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}

#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|err| panic!("{err}: {}", self.text()))
    }

    pub fn worker_id(&self) -> u64 {
        self.header("x-worker-id").expect("every answer names its worker").parse().unwrap()
    }

    /// Checks the form of an error answer and returns its `detail`.
    pub fn problem(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        let body = self.json();
        assert_eq!(body["status"], status);
        assert!(body["type"].is_string() && body["title"].is_string(), "{body}");
        body["detail"].as_str().expect("a problem has details").to_owned()
    }
}

pub fn read_all(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    if let Err(err) = stream.read_to_end(&mut answer) {
        panic!("the connection was not closed: {err}; so far: {}", String::from_utf8_lossy(&answer));
    }
    String::from_utf8_lossy(&answer).into_owned()
}

pub fn status(answer: &str) -> u16 {
    answer.get(9..12).and_then(|code| code.parse().ok()).unwrap_or(0)
}
