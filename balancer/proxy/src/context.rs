//! One request, from its head to the access log.

use std::sync::Arc;
use std::time::Duration;

use shared_protocol::WorkerId;
use tokio::time::Instant;

use balancer_access_log::{LogFields, RequestSummary};
use balancer_http1::RequestHead;
use balancer_pool::traffic::Traffic;
use balancer_pool::{Affinity, Lease};

use crate::compression::Negotiation;
use crate::fault_log::RequestName;
use crate::field::ProxyField;
use crate::forwarded::ClientIdentity;
use crate::headers::RequestId;
use crate::log_fields;
use crate::open_requests::OpenRequest;
use crate::pages;
use crate::proxy::Proxy;
use crate::request_line::RequestLine;
use crate::sticky::CookieRequest;

/// What is known of a request once its head has been read, and what is learned of it
/// until it is over.
#[derive(Debug)]
pub(crate) struct RequestContext {
    pub(crate) id: RequestId,
    pub(crate) request_line: RequestLine,
    /// The method is HEAD.
    pub(crate) is_head: bool,
    /// The method is idempotent (RFC 9110, section 9.2.2).
    pub(crate) is_idempotent: bool,
    pub(crate) is_1_1: bool,
    /// An error is shown as a page, since `Accept` prefers HTML.
    pub(crate) accepts_html: bool,
    /// A body of the response ends with its stream.
    pub(crate) is_http2: bool,
    /// The client takes trailers behind the response.
    pub(crate) takes_trailers: bool,
    /// The client may send another request on its connection.
    pub(crate) keeps_alive: bool,
    pub(crate) upgrades: bool,
    pub(crate) expects_continue: bool,
    /// What leads it to its worker.
    pub(crate) affinity: Option<Affinity>,
    /// Set only where workers are found by a cookie.
    pub(crate) cookie: Option<CookieRequest>,
    /// What it says of compression; set only where responses are compressed.
    pub(crate) compression: Option<Negotiation>,
    /// Bytes of the request's body that the client has sent.
    pub(crate) received: u64,
    pub(crate) upstream: UpstreamStats,
    /// The kind of what went wrong.
    pub(crate) fault: Option<&'static str>,
    started: Instant,
    /// How long the head of the response took, where the response has no end of its own.
    head_took: Option<Duration>,
    /// Set only where there is an access log.
    log_fields: Option<Box<LogFields>>,
    open: OpenRequest,
}

/// The part that workers had in a request.
#[derive(Debug, Default)]
pub(crate) struct UpstreamStats {
    /// The last worker that the request was handed to.
    pub(crate) worker: Option<WorkerId>,
    /// Workers that the request was handed to.
    pub(crate) attempts: usize,
    /// Where that worker's requests are counted.
    traffic: Option<Arc<Traffic>>,
    /// When the first worker was picked: the wait for one does not count.
    started: Option<Instant>,
    took: Option<Duration>,
}

impl UpstreamStats {
    /// The request is handed to another worker.
    pub(crate) fn begin_attempt(&mut self, lease: &Lease) {
        self.started.get_or_insert_with(Instant::now);
        self.attempts += 1;
        self.worker = Some(lease.id);
        self.traffic = Some(Arc::clone(&lease.traffic));
    }

    /// No worker has a part in the request any more. The first call counts.
    pub(crate) fn end(&mut self) {
        let started = self.started;
        self.took.get_or_insert_with(|| started.map_or(Duration::ZERO, |started| started.elapsed()));
    }
}

impl RequestContext {
    /// The context of `request`, whose bytes are `head`.
    pub(crate) fn new(
        proxy: &Proxy,
        head: &[u8],
        request: &RequestHead<'_, ProxyField>,
        identity: &ClientIdentity,
    ) -> Self {
        let id = RequestId::choose(request.fields.last(ProxyField::RequestId));
        let has_log = proxy.access_log.is_on();
        let (sticky, codings) = (proxy.affinity.cookie(), &proxy.limits.compress);
        Self {
            id,
            request_line: RequestLine::new(request.method, request.resource.path),
            is_head: request.method == b"HEAD",
            is_idempotent: is_idempotent(request.method),
            is_1_1: request.is_1_1,
            accepts_html: accepts_html(request.fields.iter().map(|field| (field.name, field.value))),
            is_http2: identity.is_http2,
            takes_trailers: identity.is_http2 || request.takes_trailers,
            keeps_alive: request.keeps_alive(),
            upgrades: request.upgrades,
            expects_continue: request.expects_continue,
            affinity: proxy.affinity.affinity_of(request, identity),
            cookie: sticky.map(|sticky| sticky.cookie_request(request, identity)),
            compression: (!codings.is_empty()).then(|| Negotiation::new(codings, request)),
            received: 0,
            upstream: UpstreamStats::default(),
            fault: None,
            started: Instant::now(),
            head_took: None,
            log_fields: has_log.then(|| log_fields::of_request(head, request, identity, &id)),
            open: proxy.open.enter(),
        }
    }

    /// The context of something that begins with `bytes` and is no request.
    pub(crate) fn refused(proxy: &Proxy, bytes: &[u8], identity: &ClientIdentity) -> Self {
        let id = RequestId::choose(None);
        let has_log = proxy.access_log.is_on();
        Self {
            id,
            request_line: RequestLine::new(b"", b""),
            is_head: bytes.starts_with(b"HEAD "),
            is_idempotent: false,
            is_1_1: true,
            accepts_html: accepts_html(lines(bytes)),
            is_http2: identity.is_http2,
            takes_trailers: false,
            keeps_alive: false,
            upgrades: false,
            expects_continue: false,
            affinity: None,
            cookie: None,
            compression: None,
            received: 0,
            upstream: UpstreamStats::default(),
            fault: None,
            started: Instant::now(),
            head_took: None,
            log_fields: has_log.then(|| log_fields::of_refused(bytes, identity, &id)),
            open: proxy.open.enter(),
        }
    }

    /// The value of `Connection` that tells the client whether its connection is kept
    /// (RFC 9112, section 9.3).
    pub(crate) fn connection_option(&self, keep: bool) -> Option<&'static str> {
        match (keep, self.is_1_1) {
            (false, _) => Some("close"),
            (true, false) => Some("keep-alive"),
            (true, true) => None,
        }
    }

    /// What it is called where a fault is said.
    pub(crate) fn name(&self) -> RequestName<'_> {
        let (method, path) = self.request_line.parts();
        RequestName([method, path, self.id.as_bytes()])
    }

    /// The response is a connection that lives for as long as somebody wants it: an upgraded
    /// one, or an event stream. Its life says nothing of how fast the worker is.
    pub(crate) fn become_long_lived(&mut self) {
        self.open.become_long_lived();
        self.head_took = Some(self.started.elapsed());
    }

    /// The request is over: counts and logs it. `sent` is the length of the response's
    /// body in bytes.
    pub(crate) fn finish(&mut self, proxy: &Proxy, status: u16, sent: u64) {
        let summary = RequestSummary {
            worker: self.upstream.worker.unwrap_or(WorkerId::PRIMARY),
            status,
            attempts: self.upstream.attempts,
            total: self.started.elapsed(),
            upstream: self.upstream.took.unwrap_or_default(),
            received: self.received,
            sent,
            fault: self.fault,
        };
        let latency = self.head_took.unwrap_or(summary.total);
        proxy.record(self.upstream.traffic.as_deref(), latency, summary, self.log_fields.take());
    }
}

/// Do these fields prefer HTML?
fn accepts_html<'h>(fields: impl Iterator<Item = (&'h [u8], &'h [u8])>) -> bool {
    let accepts = fields.filter(|(name, _)| name.eq_ignore_ascii_case(b"accept"));
    pages::prefers_html(accepts.map(|(_, value)| value))
}

/// What looks like a field in something that is no head, for a browser whose head is too
/// large. No more of it is in memory than a head may have.
fn lines(bytes: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    bytes.split(|&byte| byte == b'\n').filter_map(|line| {
        let colon = line.iter().position(|&byte| byte == b':')?;
        Some((&line[..colon], line[colon + 1..].trim_ascii()))
    })
}

/// RFC 9110, section 9.2.2.
fn is_idempotent(method: &[u8]) -> bool {
    matches!(method, b"GET" | b"HEAD" | b"OPTIONS" | b"PUT" | b"DELETE" | b"TRACE")
}
