//! The request path: what the balancer answers itself, which worker gets a
//! request, and what happens when that worker fails. Decisions are in
//! [`policy`] and [`headers`]; this file tells them to Pingora.

pub mod answer;
pub mod headers;
pub mod policy;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use http::header::{CONNECTION, HOST, HeaderValue};
use http::{Method, StatusCode, Version};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType, Result};
use shared::problem::Problem;
use shared::protocol::{ClusterStatus, Generation, WorkerId};

use crate::metrics::Metrics;
use crate::pool::{Lease, Pool};
use crate::roster::Roster;
use answer::Answer;
use policy::{Failure, Stage};

/// To connect to a worker, which is on this machine.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Until a worker begins to answer, and between parts of its answer.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);
/// For a worker to take what is sent to it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long an unused connection to a worker is kept; workers keep theirs
/// longer (75 s), so none is closed just as a request is sent on it.
const UPSTREAM_IDLE: Duration = Duration::from_secs(30);
/// For a client to send the next part of a body, or take the next of an answer.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(60);
/// The same once the answer has begun before the body had ended: the client will
/// see it if it reads at all.
const LINGER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a client may keep an idle connection.
const CLIENT_IDLE_SECONDS: u64 = 75;

/// Requests that the balancer is working on, from parsed header to last byte.
#[derive(Debug, Default, Clone)]
pub struct OpenRequests(Arc<AtomicU64>);

impl OpenRequests {
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    fn enter(&self) -> OpenRequest {
        self.0.fetch_add(1, Ordering::SeqCst);
        OpenRequest(Arc::clone(&self.0))
    }
}

#[derive(Debug)]
struct OpenRequest(Arc<AtomicU64>);

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What the request path reads; it writes nothing but the pool's counters.
#[derive(Debug)]
pub struct Proxy {
    pub pool: Arc<Pool>,
    pub roster: Arc<Roster>,
    pub metrics: Arc<Metrics>,
    pub open: OpenRequests,
    /// Answer `/health` and `/cluster/workers` here, as the bundled workers' API
    /// has it; somebody else's program has all paths to itself.
    pub own_routes: bool,
}

/// The state of one request.
#[derive(Debug)]
pub struct Context {
    lease: Option<Lease>,
    tried: Vec<Generation>,
    request_id: HeaderValue,
    began: Instant,
    _open: OpenRequest,
}

impl Proxy {
    /// Routes that the primary answers itself.
    fn local_answer(&self, request: &RequestHeader) -> Option<Answer> {
        let path = request.uri.path();
        if request.version == Version::HTTP_11 && !request.headers.contains_key(HOST) {
            return Some(Answer::problem(Problem::new(400, "an HTTP/1.1 request needs a Host header")));
        }
        if !self.own_routes || (path != "/cluster/workers" && path != "/health") {
            return None;
        }
        if !matches!(request.method, Method::GET | Method::HEAD) {
            let detail = format!("{path} answers GET and HEAD, not {}", request.method);
            return Some(Answer::problem(Problem::new(405, detail)).with("allow", "GET, HEAD"));
        }
        if path == "/cluster/workers" {
            return Some(Answer::json(200, &self.roster.worker_list(Instant::now())));
        }
        let health = self.roster.health();
        let status = if health.status == ClusterStatus::Unavailable { 503 } else { 200 };
        Some(Answer::json(status, &health))
    }
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context {
            lease: None,
            tried: Vec::new(),
            request_id: HeaderValue::from_static(""),
            began: Instant::now(),
            _open: self.open.enter(),
        }
    }

    fn init_downstream_modules(&self, _: &mut pingora::modules::http::HttpModules) {
        // Compression is a worker's business; Pingora's default would add it here.
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Context) -> Result<bool> {
        ctx.request_id = headers::request_id(&session.req_header().headers);
        let client = session.as_mut();
        client.set_read_timeout(Some(CLIENT_TIMEOUT));
        client.set_write_timeout(Some(CLIENT_TIMEOUT));
        // A client may close its sending side after the request and still read.
        client.set_abort_on_close(false);
        // Requests sent behind this one wait their turn (RFC 9112, section 9.3.2).
        client.set_pipelining_enabled(true);
        client.set_total_drain_timeout(Some(LINGER_TIMEOUT));
        if self.roster.is_draining() {
            session.set_keepalive(None);
        } else if session.get_keepalive().is_some() {
            session.set_keepalive(Some(CLIENT_IDLE_SECONDS));
        }
        match self.local_answer(session.req_header()) {
            Some(answer) => answer.send(session, &ctx.request_id).await.map(|()| true),
            None => Ok(false),
        }
    }

    async fn upstream_peer(&self, _: &mut Session, ctx: &mut Context) -> Result<Box<HttpPeer>> {
        // On a retry: the worker that failed no longer has this request.
        ctx.lease = None;
        let found = self.pool.pick_or_wait(&ctx.tried, policy::PATIENCE).await;
        let Some(lease) = found else {
            let status = if ctx.tried.is_empty() { 503 } else { 502 };
            return Err(Error::new(ErrorType::HTTPStatus(status)));
        };
        let mut peer = HttpPeer::new(lease.address, false, String::new());
        // A kept connection belongs to one process, even when its port is used again.
        peer.group_key = lease.generation.0;
        peer.options.connection_timeout = Some(CONNECT_TIMEOUT);
        peer.options.total_connection_timeout = Some(CONNECT_TIMEOUT);
        peer.options.read_timeout = Some(RESPONSE_TIMEOUT);
        peer.options.write_timeout = Some(WRITE_TIMEOUT);
        peer.options.idle_timeout = Some(UPSTREAM_IDLE);
        ctx.tried.push(lease.generation);
        ctx.lease = Some(lease);
        Ok(Box::new(peer))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        // Pingora has removed what is hop-by-hop before it calls this.
        for name in &headers::CLIENT_CLAIMS {
            request.remove_header(name);
        }
        let client = session.client_addr().and_then(|address| address.as_inet()).map(|address| address.ip());
        for (name, value) in headers::forwarded(client, &session.req_header().headers) {
            request.insert_header(name, value)?;
        }
        if !request.headers.contains_key(HOST)
            && let Some(worker) = &ctx.lease
        {
            // HTTP/1.0 need not name one, the HTTP/1.1 that a worker is spoken to must.
            request.insert_header(HOST, worker.address.to_string())?;
        }
        request.insert_header(headers::X_REQUEST_ID, ctx.request_id.clone())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()>
    where
        Context: Send + Sync,
    {
        for name in headers::hop_by_hop(&response.headers) {
            response.remove_header(&name);
        }
        if response.status != StatusCode::SWITCHING_PROTOCOLS {
            // Speaks of the worker's connection; Pingora adds the one for the client's.
            response.remove_header(&CONNECTION);
        }
        let worker = ctx.lease.as_ref().map_or(WorkerId::PRIMARY, |lease| lease.id);
        response.insert_header(headers::X_WORKER_ID, HeaderValue::from(worker.0))?;
        response.insert_header(headers::X_REQUEST_ID, ctx.request_id.clone())?;
        if !session.as_mut().is_body_done() {
            session.as_mut().set_read_timeout(Some(LINGER_TIMEOUT));
        }
        if self.roster.is_draining() {
            session.set_keepalive(None);
        }
        Ok(())
    }

    fn fail_to_connect(
        &self,
        session: &mut Session,
        _: &HttpPeer,
        ctx: &mut Context,
        mut error: Box<Error>,
    ) -> Box<Error> {
        error.as_up();
        error.set_retry(policy::may_retry(failure(Stage::Connecting, session, ctx, &error)));
        error
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        ctx: &mut Context,
        _reused: bool,
    ) -> Box<Error> {
        let stage = if session.response_written().is_some() { Stage::Answering } else { Stage::Sent };
        error.set_retry(policy::may_retry(failure(stage, session, ctx, &error)));
        error
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut Context) -> FailToProxy
    where
        Context: Send + Sync,
    {
        let worker = ctx.lease.take().map(|lease| lease.id);
        let answer = answer::for_error(error, worker, ctx.tried.len());
        tracing::debug!(worker = worker.map(|id| id.0), attempts = ctx.tried.len(), %error, "request failed");
        let status = answer.as_ref().map_or(0, |answer| answer.status);
        if let Some(answer) = answer
            && session.response_written().is_none()
        {
            session.set_keepalive(None);
            // Whether the client still reads is its own affair.
            let _ = answer.send(session, &ctx.request_id).await;
        }
        FailToProxy { error_code: status, can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, _: Option<&Error>, ctx: &mut Context)
    where
        Context: Send + Sync,
    {
        let traffic = ctx.lease.as_ref().map_or(&self.metrics.primary, |lease| &lease.traffic);
        if let Some(answer) = session.response_written() {
            traffic.record(answer.status.as_u16(), ctx.began.elapsed());
        }
    }

    fn suppress_error_log(&self, _: &Session, _: &Context, _: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(&self, _: &Session, _: &Context, _: &Error, _: ProxyWarnLogContext) -> bool {
        true
    }
}

fn failure(stage: Stage, session: &Session, ctx: &Context, error: &Error) -> Failure {
    Failure {
        stage,
        upstream: *error.esource() == ErrorSource::Upstream,
        timed_out: answer::is_timeout(error),
        idempotent: session.req_header().method.is_idempotent(),
        replayable: !session.as_ref().retry_buffer_truncated(),
        attempts: ctx.tried.len(),
    }
}
