//! What follows the head of a worker's response. A plain function without I/O.

use balancer_http1::{Framing, HttpError, ResponseHead};

use crate::compression::{self, Coding, Rewrite};
use crate::context::RequestContext;
use crate::field::ProxyField;

/// What follows a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Another head follows. The client gets this one only if it is `wanted`.
    Interim {
        wanted: bool,
    },
    /// The worker has agreed to speak another protocol.
    Tunnel,
    Body(BodyPlan),
}

/// How the body of a final response is passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BodyPlan {
    pub(crate) status: u16,
    /// The worker's framing.
    pub(crate) from: Framing,
    /// The client's framing.
    pub(crate) to: Framing,
    /// The client gets the trailers that the worker sends.
    pub(crate) trailers: bool,
    /// The client's connection may be kept.
    pub(crate) keeps_client: bool,
    /// The worker's connection may be kept, as far as the worker says.
    pub(crate) keeps_upstream: bool,
    /// Seconds for which the worker keeps its idle connection, if it says so.
    pub(crate) keep_alive_timeout: Option<u64>,
    /// It is an event stream, which may be silent for any time between two events.
    pub(crate) is_event_stream: bool,
    /// It may be read ahead of a slow client.
    pub(crate) reads_ahead: bool,
    /// What compression makes of the head.
    pub(crate) rewrite: Rewrite,
}

impl BodyPlan {
    /// What the body is compressed with, if there is one.
    pub(crate) fn coding(&self) -> Option<Coding> {
        self.rewrite.coding().filter(|_| self.from != Framing::Empty)
    }

    /// The body is not compressed after all, and the client gets it as it comes.
    pub(crate) fn stay_plain(&mut self) {
        // Only clients that know chunks, or streams with an end, are promised another form.
        if matches!(self.from, Framing::Length(_)) {
            self.to = self.from;
        }
        self.rewrite = Rewrite::Vary;
    }
}

/// The state of the exchange when the head has come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ExchangeState {
    /// The client has sent its whole request.
    pub(crate) is_received: bool,
    /// The client was told to send its body (100).
    pub(crate) has_continued: bool,
    /// The cluster is shutting down.
    pub(crate) is_draining: bool,
}

/// Decides what follows `response`.
///
/// # Errors
/// For a response that does not answer the request.
pub(crate) fn plan(
    response: &ResponseHead<'_, ProxyField>,
    context: &RequestContext,
    state: ExchangeState,
) -> Result<Plan, HttpError> {
    match response.status {
        101 if context.upgrades => Ok(Plan::Tunnel),
        101 => Err(HttpError::bad("an upgrade that the client did not ask for")),
        // One 100 is enough, also when a second worker says it again. HTTP/1.0 has no
        // interim responses (RFC 9110, section 15.2).
        100 => {
            Ok(Plan::Interim { wanted: context.is_1_1 && context.expects_continue && !state.has_continued })
        }
        102..=199 => Ok(Plan::Interim { wanted: context.is_1_1 }),
        status => Ok(Plan::Body(body(response, status, context, state))),
    }
}

fn body(
    response: &ResponseHead<'_, ProxyField>,
    status: u16,
    context: &RequestContext,
    state: ExchangeState,
) -> BodyPlan {
    let rewrite = match context.compression {
        Some(negotiation) => compression::decide(response, negotiation, context.is_head),
        None => Rewrite::None,
    };
    let to = match (response.framing, context.is_1_1) {
        (Framing::Length(_), _) if rewrite.coding().is_some() && context.is_http2 => Framing::UntilClose,
        (Framing::Length(_), _) if rewrite.coding().is_some() => Framing::Chunked,
        (Framing::Chunked | Framing::UntilClose, _) if context.is_http2 => Framing::UntilClose,
        (Framing::UntilClose, true) => Framing::Chunked,
        (Framing::Chunked, false) => Framing::UntilClose,
        (framing, _) => framing,
    };
    // Where a request ends whose body still comes cannot be known.
    let keeps_client =
        context.keeps_alive && state.is_received && to != Framing::UntilClose && !state.is_draining;
    let has_events = has_events(response);
    let is_live = has_events || wants_no_buffering(response);
    BodyPlan {
        status,
        from: response.framing,
        to,
        // Browsers and others take them in HTTP/2 without having asked.
        trailers: response.framing == Framing::Chunked && context.takes_trailers && !response.nominates(),
        keeps_client,
        keeps_upstream: response.keeps_alive(),
        keep_alive_timeout: response.keep_alive_timeout(),
        // Such a stream has no length.
        is_event_stream: has_events && !matches!(response.framing, Framing::Length(_) | Framing::Empty),
        reads_ahead: response.framing != Framing::Empty && !context.upgrades && !is_live,
        rewrite,
    }
}

/// Does it carry server-sent events (WHATWG HTML, section 9.2)?
fn has_events(response: &ResponseHead<'_, ProxyField>) -> bool {
    let content_type = response.fields.first_named(b"content-type").unwrap_or_default();
    let media_type = content_type.split(|&byte| byte == b';').next().unwrap_or_default();
    media_type.trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
}

/// Does the program want to know how far its client is? It says so as to nginx.
fn wants_no_buffering(response: &ResponseHead<'_, ProxyField>) -> bool {
    let value = response.fields.first_named(b"x-accel-buffering").unwrap_or_default();
    value.eq_ignore_ascii_case(b"no")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use balancer_http1::{FieldBuffer, RequestHead};

    use super::*;
    use crate::forwarded::ClientIdentity;
    use crate::limits::ProxyLimits;
    use crate::open_requests::OpenRequests;
    use crate::proxy::Proxy;

    const ALIVE: ExchangeState =
        ExchangeState { is_received: true, has_continued: false, is_draining: false };

    /// The plan for a response to `GET` with this version and these fields.
    fn planned(request: &str, response: &str, state: ExchangeState) -> Result<Plan, HttpError> {
        let open = OpenRequests::default();
        let limits = ProxyLimits::default();
        let proxy = Proxy::new(Arc::default(), Arc::default(), Arc::default(), open, limits);
        let identity = ClientIdentity::new("192.0.2.1".parse().unwrap(), false);
        let head = format!("GET / HTTP/{request}\r\nHost: a\r\n\r\n");
        let mut buffer = FieldBuffer::default();
        let request = RequestHead::parse(head.as_bytes(), &mut buffer).unwrap();
        let context = RequestContext::new(&proxy, head.as_bytes(), &request, &identity);
        let head = format!("HTTP/1.1 {response}\r\n\r\n");
        let mut buffer = FieldBuffer::default();
        plan(&ResponseHead::parse(head.as_bytes(), false, &mut buffer).unwrap(), &context, state)
    }

    fn body(request: &str, response: &str, state: ExchangeState) -> BodyPlan {
        match planned(request, response, state) {
            Ok(Plan::Body(body)) => body,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn interim_responses_are_for_clients_that_understand_them() {
        let wanted = |request: &str, response: &str, state| planned(request, response, state).unwrap();
        let expects = "1.1\r\nExpect: 100-continue";
        assert_eq!(wanted(expects, "100 Continue", ALIVE), Plan::Interim { wanted: true });
        assert_eq!(wanted("1.1", "100 Continue", ALIVE), Plan::Interim { wanted: false });
        let second = ExchangeState { has_continued: true, ..ALIVE };
        assert_eq!(wanted(expects, "100 Continue", second), Plan::Interim { wanted: false });
        assert_eq!(wanted("1.1", "103 Early Hints", second), Plan::Interim { wanted: true });
        assert_eq!(wanted("1.0", "103 Early Hints", ALIVE), Plan::Interim { wanted: false });
    }

    #[test]
    fn a_protocol_is_switched_only_for_a_client_that_asked() {
        let upgrade = "1.1\r\nConnection: upgrade\r\nUpgrade: websocket";
        assert_eq!(planned(upgrade, "101 Switching Protocols", ALIVE), Ok(Plan::Tunnel));
        assert!(planned("1.1", "101 Switching Protocols", ALIVE).is_err());
        assert_eq!(body(upgrade, "200 OK\r\nContent-Length: 1", ALIVE).to, Framing::Length(1));
    }

    #[test]
    fn the_body_is_framed_as_the_client_understands_it() {
        let chunked = "200 OK\r\nTransfer-Encoding: chunked";
        assert_eq!(body("1.1", chunked, ALIVE).to, Framing::Chunked);
        let old = body("1.0\r\nConnection: keep-alive", chunked, ALIVE);
        assert_eq!((old.to, old.keeps_client), (Framing::UntilClose, false));
        let until_close = body("1.1", "200 OK", ALIVE);
        assert_eq!((until_close.from, until_close.to), (Framing::UntilClose, Framing::Chunked));
        assert!(until_close.keeps_client && !until_close.keeps_upstream);
    }

    #[test]
    fn event_streams_are_known_by_their_type() {
        let is_stream = |fields: &str| body("1.1", &format!("200 OK\r\n{fields}"), ALIVE).is_event_stream;
        assert!(is_stream("Content-Type: text/event-stream"));
        assert!(is_stream("content-type: Text/Event-Stream ; charset=utf-8\r\nTransfer-Encoding: chunked"));
        assert!(!is_stream("Content-Type: text/event-stream\r\nContent-Length: 5"));
        assert!(!is_stream("Content-Type: text/event-streams"));
        assert!(!is_stream("X: text/event-stream"));
    }

    #[test]
    fn only_a_body_that_is_not_live_is_read_ahead() {
        let reads_ahead =
            |request, fields: &str| body(request, &format!("200 OK{fields}"), ALIVE).reads_ahead;
        let plain =
            ["", "\r\nContent-Type: text/plain", "\r\nX-Accel-Buffering: yes", "\r\nContent-Length: 9"];
        assert!(plain.into_iter().all(|fields| reads_ahead("1.1", fields)));
        for live in [
            "\r\nContent-Type: text/event-stream",
            "\r\ncontent-type: Text/Event-Stream ; charset=utf-8",
            "\r\nx-accel-buffering: No",
            "\r\nContent-Length: 0",
        ] {
            assert!(!reads_ahead("1.1", live), "{live}");
        }
        assert!(!reads_ahead("1.1\r\nConnection: upgrade\r\nUpgrade: websocket", "\r\nContent-Length: 9"));
    }

    #[test]
    fn a_connection_is_kept_when_its_next_request_can_be_found() {
        let empty = "200 OK\r\nContent-Length: 0";
        assert!(body("1.1", empty, ALIVE).keeps_client && body("1.1", empty, ALIVE).keeps_upstream);
        assert!(!body("1.1\r\nConnection: close", empty, ALIVE).keeps_client);
        assert!(!body("1.1", empty, ExchangeState { is_received: false, ..ALIVE }).keeps_client);
        assert!(!body("1.1", empty, ExchangeState { is_draining: true, ..ALIVE }).keeps_client);
        assert!(!body("1.1", "200 OK\r\nConnection: close\r\nContent-Length: 0", ALIVE).keeps_upstream);
    }
}
