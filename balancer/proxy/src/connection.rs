//! A client's connection from its first request to its end.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use pingora::protocols::Stream;
use shared_protocol::WorkerId;
use tokio::time::Instant;

use super::Proxy;
use super::attempts;
use super::buffer::Outbox;
use super::client::{Client, Next};
use super::exchange::{Outcome, RequestContext};
use super::headers::{self, RequestId};
use super::neighbours::Admission;
use super::noted;
use super::origin::{self, Origin};
use super::responses::{self, WriteOptions};
use super::upload::{self, Upload};
use balancer_access_log::{LogFields, RequestSummary};
use balancer_http1::request::RequestHead;
use balancer_http1::{Framing, HttpError};
use balancer_pool::traffic::Traffic;
use balancer_state::response::Response;

/// What becomes of the connection after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Next,
    /// Everything has been said and read.
    Close,
    /// The client may not have sent all yet.
    Linger,
    /// Only an abrupt end tells the client that the answer is not whole.
    Abort,
}

/// Serves requests until the connection ends.
pub(super) async fn serve(proxy: &Proxy, io: Stream) {
    let address = io.get_socket_digest().and_then(|digest| {
        digest.peer_addr().and_then(|address| address.as_inet()).map(|address| address.ip())
    });
    let mut client = Client::new(io, Origin::new(address, proxy.limits.trust_forwarded));
    let _stay = match proxy.neighbours.enter(address, &proxy.counters.connections_refused) {
        Admission::Admitted(stay) => stay,
        Admission::Refused(_stay) => {
            refuse(proxy, &mut client, TOO_MANY, &Method::GET).await;
            return client.linger(&proxy.limits).await;
        }
        Admission::Dropped => return,
    };
    loop {
        let then = match client.next(&proxy.limits).await {
            Next::Closed => return,
            Next::Refused(error) => refuse(proxy, &mut client, error, &Method::GET).await,
            Next::Head(length) => handle(proxy, &mut client, length).await,
        };
        match then {
            Then::Next => {}
            Then::Abort => return,
            // What a client has sent in advance is not read any more.
            Then::Close if client.inbox.is_empty() => return,
            Then::Close | Then::Linger => return client.linger(&proxy.limits).await,
        }
    }
}

/// Answers a request that is not understood, and ends the connection: where the
/// next one would begin cannot be known.
async fn refuse(proxy: &Proxy, client: &mut Client, error: HttpError, method: &Method) -> Then {
    let context = RequestContext {
        id: RequestId::choose(None),
        started: Instant::now(),
        head_only: *method == Method::HEAD,
        idempotent: false,
        is_1_1: true,
        keeps_alive: false,
        upgrades: false,
        expects_continue: false,
        bound_to: None,
        is_https: false,
    };
    let log = proxy.access_log.is_on();
    let texts = log.then(|| noted::refused(client.inbox.bytes(), &client.origin, &context.id));
    give(
        proxy,
        client,
        &context,
        &responses::for_http_error(error),
        false,
        UpstreamStats { texts, ..UpstreamStats::default() },
    )
    .await;
    Then::Linger
}

/// Handles the request whose head is the first `length` bytes of the inbox.
async fn handle(proxy: &Proxy, client: &mut Client, length: usize) -> Then {
    let started = Instant::now();
    let open = proxy.open.enter();
    let head = &client.inbox.bytes()[..length];
    let request = match RequestHead::parse(head, std::mem::take(&mut client.fields)) {
        Ok(request) => request,
        Err(error) => {
            let method = if head.starts_with(b"HEAD ") { Method::HEAD } else { Method::GET };
            let then = refuse(proxy, client, error, &method).await;
            drop(open);
            return then;
        }
    };
    let method = request.method.in_head(head);
    let context = RequestContext {
        id: RequestId::choose(request.id.map(|id| id.in_head(head))),
        started,
        head_only: method == b"HEAD",
        // RFC 9110, section 9.2.2.
        idempotent: matches!(method, b"GET" | b"HEAD" | b"OPTIONS" | b"PUT" | b"DELETE" | b"TRACE"),
        is_1_1: request.is_1_1,
        keeps_alive: request.keeps_alive(),
        upgrades: request.upgrade.is_some(),
        expects_continue: request.expects_continue,
        bound_to: proxy.sticky.as_ref().and_then(|sticky| sticky.worker_of(head, &request)),
        is_https: proxy.sticky.is_some() && origin::is_https(head, &request, &client.origin),
    };
    let log = proxy.access_log.is_on();
    let texts = log.then(|| noted::understood(head, &request, &client.origin, &context.id));
    let path = request.resource.path.in_head(head);
    let path = path.split(|&byte| byte == b'?').next().unwrap_or_default();
    let own = match request.framing {
        Framing::Length(length) if length > proxy.limits.max_body => {
            Some(responses::for_http_error(upload::too_large(proxy.limits.max_body)))
        }
        _ => proxy.local_answer(method, path),
    };
    let framing = request.framing;
    let mut out = Outbox::default();
    if own.is_none() {
        headers::write_request(out.bytes(), head, &request, &context.id, &client.origin);
    }
    client.fields = request.fields;
    client.inbox.consume(length);
    if let Some(answer) = own {
        let keep = framing == Framing::Empty;
        let stats = UpstreamStats { texts, ..UpstreamStats::default() };
        let kept = give(proxy, client, &context, &answer, keep, stats).await;
        return match (kept, keep) {
            (true, _) => Then::Next,
            (false, true) => Then::Close,
            (false, false) => Then::Linger,
        };
    }
    let mut upload = Upload::new(out, framing, &proxy.limits);
    let report = attempts::run(proxy, &context, client, &mut upload).await;
    let stats = UpstreamStats {
        worker: report.worker,
        traffic: report.traffic,
        attempts: report.attempts,
        upstream: report.upstream,
        received: upload.received(),
        texts,
    };
    conclude(proxy, client, &context, &upload, report.outcome, stats).await
}

/// Says how it ended: to the client, if it has heard nothing, and to whoever
/// keeps count.
async fn conclude(
    proxy: &Proxy,
    client: &mut Client,
    context: &RequestContext,
    upload: &Upload,
    outcome: Outcome,
    stats: UpstreamStats,
) -> Then {
    let (status, sent, then) = match outcome {
        Outcome::Answered { status, sent, keep: true } => (status, sent, Then::Next),
        Outcome::Answered { status, sent, keep: false } => {
            (status, sent, if upload.is_received() { Then::Close } else { Then::Linger })
        }
        Outcome::Cut { status, sent } => (status, sent, Then::Abort),
        Outcome::Gone => (RequestSummary::CLIENT_CLOSED, 0, Then::Abort),
        Outcome::Failed(fault) => {
            let answer = responses::for_proxy_error(&fault, stats.worker, stats.attempts);
            give(proxy, client, context, &answer, false, stats).await;
            return Then::Linger;
        }
        Outcome::Refused(error) => {
            give(proxy, client, context, &responses::for_http_error(error), false, stats).await;
            return Then::Linger;
        }
    };
    finish(proxy, context, status, sent, stats);
    then
}

/// The part that workers had in a request, and what is kept of it for the log.
#[derive(Debug, Default)]
struct UpstreamStats {
    worker: Option<WorkerId>,
    /// Where the last worker's requests are counted.
    traffic: Option<Arc<Traffic>>,
    attempts: usize,
    upstream: Duration,
    received: u64,
    texts: Option<Box<LogFields>>,
}

/// Gives an answer of our own. Says whether the connection may be kept, which is
/// out of the question without `may_keep`.
async fn give(
    proxy: &Proxy,
    client: &mut Client,
    context: &RequestContext,
    answer: &Response,
    may_keep: bool,
    stats: UpstreamStats,
) -> bool {
    let keep = may_keep && context.keeps_alive && !proxy.registry.is_draining();
    let connection = context.connection(keep);
    let options =
        WriteOptions { request_id: context.id.as_bytes(), head_only: context.head_only, connection };
    responses::write(answer, client.out.bytes(), options);
    let taken = client.flush(&proxy.limits).await.is_ok();
    finish(proxy, context, answer.status, answer.body.len() as u64, stats);
    keep && taken
}

fn finish(proxy: &Proxy, context: &RequestContext, status: u16, sent: u64, stats: UpstreamStats) {
    let summary = RequestSummary {
        worker: stats.worker.unwrap_or(WorkerId::PRIMARY),
        status,
        attempts: stats.attempts,
        total: context.started.elapsed(),
        upstream: stats.upstream,
        received: stats.received,
        sent,
    };
    proxy.finished(stats.traffic.as_deref(), summary, stats.texts);
}

const TOO_MANY: HttpError = HttpError::new(
    503,
    "there are as many connections from this address as there may be (--max-connections-per-ip); \
     close one, or try again later",
);
