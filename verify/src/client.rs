//! One HTTP/1.1 client for all checks. It repeats nothing: what failed, failed.
//!
//! Invariant: every answer that any check sees is in the [`Journal`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use shared_protocol::WORKER_ID_HEADER;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::journal::Journal;
use crate::target::Target;

/// To connect, and then to have the whole answer.
const TIME_LIMIT: Duration = Duration::from_secs(30);
/// No answer of a cluster comes near this many bytes; one that goes beyond may
/// never end.
const BODY_LIMIT: usize = 4 * 1024 * 1024;
/// Characters of a body that evidence has room for.
const QUOTED: usize = 300;

#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientError {
    #[error("{what}: no connection: {why}")]
    Connect { what: String, why: String },
    #[error("{what}: {why}")]
    Broken { what: String, why: String },
    #[error("{what}: no answer within {limit:?}")]
    Timeout { what: String, limit: Duration },
}

/// What is asked.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: Method,
    pub path: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
}

impl Request {
    pub fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), headers: Vec::new(), body: Bytes::new() }
    }

    pub fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    pub fn post(path: impl Into<String>, body: &Value) -> Self {
        Self::new(Method::POST, path).body("application/json", body.to_string())
    }

    pub fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path)
    }

    /// `value` must be visible ASCII.
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        let value = HeaderValue::try_from(value).expect("checks send visible ASCII only");
        self.headers.push((HeaderName::from_static(name), value));
        self
    }

    pub fn body(mut self, kind: &'static str, body: impl Into<Bytes>) -> Self {
        self.headers.push((CONTENT_TYPE, HeaderValue::from_static(kind)));
        self.body = body.into();
        self
    }

    fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// What came back.
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
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub fn content_type(&self) -> Option<&str> {
        self.header("content-type").map(|kind| kind.split(';').next().unwrap_or(kind).trim())
    }

    /// `Null` when the body is no JSON.
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

/// Makes connections to one target.
#[derive(Debug, Clone)]
pub struct Client {
    target: Arc<Target>,
    journal: Arc<Mutex<Journal>>,
    limit: Duration,
}

impl Client {
    pub fn new(target: Target, journal: Arc<Mutex<Journal>>) -> Self {
        Self { target: Arc::new(target), journal, limit: TIME_LIMIT }
    }

    pub fn with_limit(&self, limit: Duration) -> Self {
        Self { limit, ..self.clone() }
    }

    pub fn target(&self) -> &Target {
        &self.target
    }

    pub fn journal(&self) -> MutexGuard<'_, Journal> {
        // Nothing that can panic runs under the lock.
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request on a connection of its own.
    pub async fn send(&self, request: Request) -> Result<Answer, ClientError> {
        let name = request.name();
        let whole = async {
            let mut sender = self.dial(&name).await?;
            self.exchange(&mut sender, request, true).await
        };
        timeout(self.limit, whole)
            .await
            .unwrap_or_else(|_| Err(ClientError::Timeout { what: name.clone(), limit: self.limit }))
    }

    pub async fn get(&self, path: &str) -> Result<Answer, ClientError> {
        self.send(Request::get(path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer, ClientError> {
        self.send(Request::post(path, body)).await
    }

    /// A client that keeps its connection.
    pub fn session(&self) -> Session {
        Session { client: self.clone(), sender: None, connections: 0 }
    }

    async fn dial(&self, what: &str) -> Result<SendRequest<Full<Bytes>>, ClientError> {
        let failed = |why: String| ClientError::Connect { what: what.to_owned(), why };
        let address = (self.target.host.as_str(), self.target.port);
        let stream = TcpStream::connect(address).await.map_err(|err| failed(err.to_string()))?;
        stream.set_nodelay(true).map_err(|err| failed(err.to_string()))?;
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|err| failed(err.to_string()))?;
        // Ends with the sender; its error reaches whoever waits for an answer.
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn exchange(
        &self,
        sender: &mut SendRequest<Full<Bytes>>,
        request: Request,
        close: bool,
    ) -> Result<Answer, ClientError> {
        let what = request.name();
        let broken = |err: hyper::Error| ClientError::Broken { what: what.clone(), why: chain(&err) };
        let mut message = http::Request::new(Full::new(request.body));
        *message.method_mut() = request.method.clone();
        *message.uri_mut() = self.target.path(&request.path).parse().map_err(|_| ClientError::Broken {
            what: what.clone(),
            why: "the path is not valid".to_owned(),
        })?;
        let host = HeaderValue::try_from(self.target.authority()).expect("it was parsed from a URL");
        message.headers_mut().insert(HOST, host);
        message.headers_mut().extend(request.headers);
        if close {
            message.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let started = Instant::now();
        let (head, body) = sender.send_request(message).await.map_err(broken)?.into_parts();
        let body = Limited::new(body, BODY_LIMIT).collect().await.map_err(|err| {
            let what = what.clone();
            match err.downcast::<hyper::Error>() {
                Ok(err) => ClientError::Broken { what, why: chain(&*err) },
                Err(_) => {
                    ClientError::Broken { what, why: format!("a body of more than {BODY_LIMIT} bytes") }
                }
            }
        })?;
        let body = body.to_bytes();
        let answer = Answer {
            method: request.method,
            path: request.path,
            status: head.status,
            headers: head.headers,
            body,
            started,
            ended: Instant::now(),
        };
        self.journal().record(&answer);
        Ok(answer)
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

/// The message with its causes, which hyper keeps apart.
fn chain(err: &dyn std::error::Error) -> String {
    let mut text = err.to_string();
    let mut source = err.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// A client that keeps its connection between requests, and makes a new one when
/// the server has closed the old one before the next request was sent.
#[derive(Debug)]
pub struct Session {
    client: Client,
    sender: Option<SendRequest<Full<Bytes>>>,
    /// Connections made so far.
    pub connections: usize,
}

impl Session {
    pub async fn send(&mut self, request: Request) -> Result<Answer, ClientError> {
        let (what, limit) = (request.name(), self.client.limit);
        let result = timeout(limit, self.send_on_kept(&what, request))
            .await
            .unwrap_or_else(|_| Err(ClientError::Timeout { what, limit }));
        if result.is_err() {
            self.sender = None;
        }
        result
    }

    pub async fn get(&mut self, path: &str) -> Result<Answer, ClientError> {
        self.send(Request::get(path)).await
    }

    async fn send_on_kept(&mut self, what: &str, request: Request) -> Result<Answer, ClientError> {
        // Fails when the server has closed it: then nothing was sent on it.
        if let Some(sender) = &mut self.sender
            && sender.ready().await.is_err()
        {
            self.sender = None;
        }
        let sender = match &mut self.sender {
            Some(sender) => sender,
            none => {
                self.connections += 1;
                none.insert(self.client.dial(what).await?)
            }
        };
        self.client.exchange(sender, request, false).await
    }
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
