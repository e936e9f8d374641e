//! The client of all checks. It repeats nothing: what failed, failed.
//!
//! Invariant: every answer that any check sees is in the [`AnswerLog`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::Method;
use serde_json::Value;
pub use shared_http_client::Request;
use shared_http_client::{Limits, Response};

use crate::answer::Answer;
use crate::answer_log::AnswerLog;
use crate::target::Target;
use crate::transport::{Transport, TransportError};

/// To connect and to have the whole answer.
const TIME_LIMIT: Duration = Duration::from_secs(30);
/// No answer of a cluster comes near this many bytes; one that goes beyond may
/// never end.
const BODY_LIMIT: usize = 4 * 1024 * 1024;

/// A request that got no answer.
#[derive(Debug, thiserror::Error)]
#[error("{request}: {source}")]
pub struct ClientError {
    /// Method and path.
    request: String,
    pub source: shared_http_client::ClientError,
}

impl ClientError {
    /// The server was silent for as long as any check waits.
    pub fn is_timeout(&self) -> bool {
        self.source.is_timeout()
    }
}

/// Sends requests to one target.
#[derive(Debug, Clone)]
pub struct Client {
    target: Arc<Target>,
    transport: Arc<Transport>,
    answer_log: Arc<Mutex<AnswerLog>>,
    http: shared_http_client::Client,
}

impl Client {
    /// Speaks to `target` as `transport` says.
    ///
    /// # Errors
    /// When nobody can be trusted.
    pub fn new(
        target: Target,
        transport: &Transport,
        answer_log: Arc<Mutex<AnswerLog>>,
    ) -> Result<Self, TransportError> {
        let http = transport.client(&target, Limits::new(TIME_LIMIT, BODY_LIMIT))?;
        Ok(Self { target: Arc::new(target), transport: Arc::new(transport.clone()), answer_log, http })
    }

    /// Speaks plain HTTP/1.1.
    pub fn plain(target: Target, answer_log: Arc<Mutex<AnswerLog>>) -> Self {
        let http = shared_http_client::Client::new(target.address(), Limits::new(TIME_LIMIT, BODY_LIMIT));
        Self { target: Arc::new(target), transport: Arc::default(), answer_log, http }
    }

    pub fn transport(&self) -> &Transport {
        &self.transport
    }

    /// The same, with less time for each request.
    pub fn with_limit(&self, limit: Duration) -> Self {
        Self { http: self.http.with_limits(Limits::new(limit, BODY_LIMIT)), ..self.clone() }
    }

    pub fn target(&self) -> &Target {
        &self.target
    }

    pub fn answer_log(&self) -> MutexGuard<'_, AnswerLog> {
        // Nothing that can panic runs under the lock.
        self.answer_log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a request on a connection of its own.
    ///
    /// # Errors
    /// When there is no complete answer in time, whatever its status.
    pub async fn send(&self, request: Request) -> Result<Answer, ClientError> {
        let sent = Sent::new(&request);
        sent.recorded(self, self.http.send(self.at_target(request)).await)
    }

    pub async fn get(&self, path: &str) -> Result<Answer, ClientError> {
        self.send(Request::get(path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer, ClientError> {
        self.send(Request::post(path, body)).await
    }

    /// A client that keeps its connection.
    pub fn session(&self) -> Session {
        Session { client: self.clone(), http: self.http.session() }
    }

    /// The request with the target's own prefix before its path.
    fn at_target(&self, mut request: Request) -> Request {
        request.path = self.target.path(&request.path);
        request
    }
}

/// A client that keeps its connection between requests, and makes a new one when
/// the server has closed the old one before the next request was sent.
#[derive(Debug)]
pub struct Session {
    client: Client,
    http: shared_http_client::Session,
}

impl Session {
    /// # Errors
    /// When there is no complete answer in time, whatever its status.
    pub async fn send(&mut self, request: Request) -> Result<Answer, ClientError> {
        let sent = Sent::new(&request);
        let response = self.http.send(self.client.at_target(request)).await;
        sent.recorded(&self.client, response)
    }

    pub async fn get(&mut self, path: &str) -> Result<Answer, ClientError> {
        self.send(Request::get(path)).await
    }
}

/// What is remembered of a request while its answer is awaited.
struct Sent {
    method: Method,
    path: String,
}

impl Sent {
    fn new(request: &Request) -> Self {
        Self { method: request.method.clone(), path: request.path.clone() }
    }

    fn recorded(
        self,
        client: &Client,
        response: Result<Response, shared_http_client::ClientError>,
    ) -> Result<Answer, ClientError> {
        match response {
            Ok(response) => {
                let answer = Answer::new(self.method, self.path, response);
                client.answer_log().record(&answer);
                Ok(answer)
            }
            Err(source) => Err(ClientError { request: format!("{} {}", self.method, self.path), source }),
        }
    }
}
