//! A client's connection from its first request to its end.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use pingora::protocols::Stream;
use shared_protocol::WorkerId;
use tokio::time::Instant;

use super::Proxy;
use super::answer::{self, Answer, Form};
use super::attempts;
use super::buffer::Outbox;
use super::client::{Client, Next};
use super::exchange::{Job, Outcome};
use super::finished::Finished;
use super::headers::{self, RequestId};
use super::neighbours::Admission;
use super::noted;
use super::origin::{self, Origin};
use super::upload::{self, Upload};
use crate::access_log::Texts;
use crate::http1::request::Request;
use crate::http1::{Framing, Refusal};
use crate::metrics::Traffic;

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
    let mut client = Client::new(io, Origin::new(address, proxy.rules.trust_forwarded));
    let _stay = match proxy.neighbours.enter(address, &proxy.metrics.connections_refused) {
        Admission::Admitted(stay) => stay,
        Admission::Refused(_stay) => {
            refuse(proxy, &mut client, TOO_MANY, &Method::GET).await;
            return client.linger(&proxy.rules).await;
        }
        Admission::Dropped => return,
    };
    loop {
        let then = match client.next(&proxy.rules).await {
            Next::Closed => return,
            Next::Refused(refusal) => refuse(proxy, &mut client, refusal, &Method::GET).await,
            Next::Head(length) => handle(proxy, &mut client, length).await,
        };
        match then {
            Then::Next => {}
            Then::Abort => return,
            // What a client has sent in advance is not read any more.
            Then::Close if client.inbox.is_empty() => return,
            Then::Close | Then::Linger => return client.linger(&proxy.rules).await,
        }
    }
}

/// Answers a request that is not understood, and ends the connection: where the
/// next one would begin cannot be known.
async fn refuse(proxy: &Proxy, client: &mut Client, refusal: Refusal, method: &Method) -> Then {
    let job = Job {
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
    let texts = log.then(|| noted::refused(client.inbox.bytes(), &client.origin, &job.id));
    give(proxy, client, &job, &refusal.into(), false, Asked { texts, ..Asked::default() }).await;
    Then::Linger
}

/// Handles the request whose head is the first `length` bytes of the inbox.
async fn handle(proxy: &Proxy, client: &mut Client, length: usize) -> Then {
    let started = Instant::now();
    let open = proxy.open.enter();
    let head = &client.inbox.bytes()[..length];
    let request = match Request::parse(head, std::mem::take(&mut client.fields)) {
        Ok(request) => request,
        Err(refusal) => {
            let method = if head.starts_with(b"HEAD ") { Method::HEAD } else { Method::GET };
            let then = refuse(proxy, client, refusal, &method).await;
            drop(open);
            return then;
        }
    };
    let method = request.method.in_head(head);
    let job = Job {
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
    let texts = log.then(|| noted::understood(head, &request, &client.origin, &job.id));
    let path = request.resource.path.in_head(head);
    let path = path.split(|&byte| byte == b'?').next().unwrap_or_default();
    let own = match request.framing {
        Framing::Length(length) if length > proxy.rules.max_body => {
            Some(upload::too_large(proxy.rules.max_body).into())
        }
        _ => proxy.local_answer(method, path),
    };
    let framing = request.framing;
    let mut out = Outbox::default();
    if own.is_none() {
        headers::write_request(out.bytes(), head, &request, &job.id, &client.origin);
    }
    client.fields = request.fields;
    client.inbox.consume(length);
    if let Some(answer) = own {
        let keep = framing == Framing::Empty;
        let asked = Asked { texts, ..Asked::default() };
        let kept = give(proxy, client, &job, &answer, keep, asked).await;
        return match (kept, keep) {
            (true, _) => Then::Next,
            (false, true) => Then::Close,
            (false, false) => Then::Linger,
        };
    }
    let mut upload = Upload::new(out, framing, &proxy.rules);
    let report = attempts::run(proxy, &job, client, &mut upload).await;
    let asked = Asked {
        worker: report.worker,
        traffic: report.traffic,
        attempts: report.attempts,
        upstream: report.upstream,
        received: upload.received(),
        texts,
    };
    conclude(proxy, client, &job, &upload, report.outcome, asked).await
}

/// Says how it ended: to the client, if it has heard nothing, and to whoever
/// keeps count.
async fn conclude(
    proxy: &Proxy,
    client: &mut Client,
    job: &Job,
    upload: &Upload,
    outcome: Outcome,
    asked: Asked,
) -> Then {
    let (status, sent, then) = match outcome {
        Outcome::Answered { status, sent, keep: true } => (status, sent, Then::Next),
        Outcome::Answered { status, sent, keep: false } => {
            (status, sent, if upload.is_received() { Then::Close } else { Then::Linger })
        }
        Outcome::Cut { status, sent } => (status, sent, Then::Abort),
        Outcome::Gone => (Finished::CLIENT_GONE, 0, Then::Abort),
        Outcome::Failed(fault) => {
            let answer = answer::for_fault(&fault, asked.worker, asked.attempts);
            give(proxy, client, job, &answer, false, asked).await;
            return Then::Linger;
        }
        Outcome::Refused(refusal) => {
            give(proxy, client, job, &refusal.into(), false, asked).await;
            return Then::Linger;
        }
    };
    finish(proxy, job, status, sent, asked);
    then
}

/// The part that workers had in a request, and what is kept of it for the log.
#[derive(Debug, Default)]
struct Asked {
    worker: Option<WorkerId>,
    /// Where the last worker's requests are counted.
    traffic: Option<Arc<Traffic>>,
    attempts: usize,
    upstream: Duration,
    received: u64,
    texts: Option<Box<Texts>>,
}

/// Gives an answer of our own. Says whether the connection may be kept, which is
/// out of the question without `may_keep`.
async fn give(
    proxy: &Proxy,
    client: &mut Client,
    job: &Job,
    answer: &Answer,
    may_keep: bool,
    asked: Asked,
) -> bool {
    let keep = may_keep && job.keeps_alive && !proxy.roster.is_draining();
    let connection = job.connection(keep);
    let form = Form { request_id: job.id.as_bytes(), head_only: job.head_only, connection };
    answer.write(client.out.bytes(), form);
    let taken = client.flush(&proxy.rules).await.is_ok();
    finish(proxy, job, answer.status, answer.body.len() as u64, asked);
    keep && taken
}

fn finish(proxy: &Proxy, job: &Job, status: u16, sent: u64, asked: Asked) {
    let finished = Finished {
        worker: asked.worker.unwrap_or(WorkerId::PRIMARY),
        status,
        attempts: asked.attempts,
        total: job.started.elapsed(),
        upstream: asked.upstream,
        received: asked.received,
        sent,
    };
    proxy.finished(asked.traffic.as_deref(), &finished, asked.texts);
}

const TOO_MANY: Refusal = Refusal::new(
    503,
    "there are as many connections from this address as there may be (--max-connections-per-ip); \
     close one, or try again later",
);
