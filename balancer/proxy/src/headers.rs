//! Heads as they go on: what a reverse proxy drops, keeps and adds. Plain
//! functions from parsed heads to bytes.

use shared_protocol::{
    REQUEST_ID_HEADER, WORKER_ID_HEADER, WorkerId, is_well_formed_request_id, new_request_id,
};

use super::origin::Origin;
use super::sticky::Sticky;
use balancer_http1::request::RequestHead;
use balancer_http1::response::ResponseHead;
use balancer_http1::{self, Field, Framing, Known};

/// A request's id: its client's own when it is well formed, else a new one.
#[derive(Debug, Clone, Copy)]
pub struct RequestId {
    bytes: [u8; 128],
    length: u8,
}

impl RequestId {
    pub fn choose(claimed: Option<&[u8]>) -> Self {
        match claimed {
            Some(id) if is_well_formed_request_id(id) => Self::of(id),
            _ => Self::of(&new_request_id()),
        }
    }

    /// `id` is of 128 bytes at most.
    fn of(id: &[u8]) -> Self {
        let mut bytes = [0; 128];
        bytes[..id.len()].copy_from_slice(id);
        Self { bytes, length: id.len() as u8 }
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

/// Appends the head that a worker gets for `request`, whose bytes are `head`.
pub fn write_request(out: &mut Vec<u8>, head: &[u8], request: &RequestHead, id: &RequestId, origin: &Origin) {
    out.extend_from_slice(request.method.in_head(head));
    out.extend_from_slice(if request.resource.rootless { b" /" } else { b" " });
    out.extend_from_slice(request.resource.path.in_head(head));
    // HTTP/1.0 need not name a host, the HTTP/1.1 that a worker is spoken to must.
    let host = request.host.map_or(b"localhost".as_slice(), |host| host.in_head(head));
    out.extend_from_slice(b" HTTP/1.1\r\n");
    line(out, "host", host);
    let mut forwarded_for = None;
    let mut claims = false;
    for field in &request.fields {
        match field.known {
            Known::Other => {}
            Known::ForwardedFor => {
                forwarded_for = Some(field.value);
                continue;
            }
            Known::Claim if origin.trusted => claims = true,
            _ => continue,
        }
        if !(request.connection.nominates && balancer_http1::is_nominated(head, &request.fields, field)) {
            copy(out, head, field);
        }
    }
    line(out, REQUEST_ID_HEADER, id.as_bytes());
    if !claims {
        line(out, "x-forwarded-proto", b"http");
        line(out, "x-forwarded-host", host);
    }
    out.extend_from_slice(b"x-forwarded-for: ");
    if let Some(before) = forwarded_for.filter(|_| origin.trusted) {
        out.extend_from_slice(before.in_head(head));
        out.extend_from_slice(b", ");
    }
    out.extend_from_slice(origin.address.as_bytes());
    out.extend_from_slice(b"\r\n");
    framing(out, request.framing);
    if request.framing == Framing::Empty && wants_length(request.method.in_head(head)) {
        line(out, "content-length", b"0");
    }
    if request.expects_continue && request.framing != Framing::Empty {
        line(out, "expect", b"100-continue");
    }
    if let Some(upgrade) = request.upgrade {
        line(out, "connection", b"upgrade");
        line(out, "upgrade", upgrade.in_head(head));
    }
    out.extend_from_slice(b"\r\n");
}

/// Methods whose requests say that they have no body (RFC 9110, section 8.6).
fn wants_length(method: &[u8]) -> bool {
    matches!(method, b"POST" | b"PUT" | b"PATCH")
}

/// What the balancer says in an answer that it passes on.
#[derive(Debug, Clone, Copy)]
pub struct ResponseHeaders<'a> {
    pub worker: WorkerId,
    pub request_id: &'a RequestId,
    /// How the body goes on; for [`Framing::Empty`] the worker's own length is
    /// kept, as it may speak of what a GET would get.
    pub framing: Framing,
    pub connection: Option<&'static str>,
    /// Makes the client come back to this worker.
    pub cookie: Option<Cookie<'a>>,
}

#[derive(Debug, Clone, Copy)]
pub struct Cookie<'a> {
    pub sticky: &'a Sticky,
    /// For HTTPS alone.
    pub secure: bool,
}

/// Appends the head that a client gets for `response`, whose bytes are `head`.
pub fn write_response(out: &mut Vec<u8>, head: &[u8], response: &ResponseHead, marks: ResponseHeaders<'_>) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(response.status_line.in_head(head));
    out.extend_from_slice(b"\r\n");
    let bodiless = response.status < 200 || response.status == 204;
    for field in &response.fields {
        let keeps = match field.known {
            Known::ContentLength => marks.framing == Framing::Empty && !bodiless,
            Known::Upgrade => response.status == 101 || response.status == 426,
            Known::Host | Known::Expect | Known::ForwardedFor | Known::Claim | Known::Other => true,
            _ => false,
        };
        if keeps
            && !(response.connection.nominates && balancer_http1::is_nominated(head, &response.fields, field))
        {
            copy(out, head, field);
        }
    }
    framing(out, marks.framing);
    out.extend_from_slice(WORKER_ID_HEADER.as_bytes());
    out.extend_from_slice(b": ");
    number(out, u64::from(marks.worker.0));
    out.extend_from_slice(b"\r\n");
    line(out, REQUEST_ID_HEADER, marks.request_id.as_bytes());
    if let Some(Cookie { sticky, secure }) = marks.cookie {
        sticky.write(out, marks.worker, secure);
    }
    if let Some(connection) = marks.connection {
        line(out, "connection", connection.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

fn framing(out: &mut Vec<u8>, framing: Framing) {
    match framing {
        Framing::Length(length) => {
            out.extend_from_slice(b"content-length: ");
            number(out, length);
            out.extend_from_slice(b"\r\n");
        }
        Framing::Chunked => line(out, "transfer-encoding", b"chunked"),
        Framing::Empty | Framing::UntilClose => {}
    }
}

fn copy(out: &mut Vec<u8>, head: &[u8], field: &Field) {
    out.extend_from_slice(field.name.in_head(head));
    out.extend_from_slice(b": ");
    out.extend_from_slice(field.value.in_head(head));
    out.extend_from_slice(b"\r\n");
}

fn line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

pub(super) fn number(out: &mut Vec<u8>, number: u64) {
    let (mut digits, mut at, mut rest) = ([0; 20], 20, number);
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(head: &str, trusted: bool) -> String {
        let parsed = RequestHead::parse(head.as_bytes(), vec![]).unwrap();
        let origin = Origin::new(Some("::ffff:192.0.2.7".parse().unwrap()), trusted);
        let mut out = Vec::new();
        write_request(&mut out, head.as_bytes(), &parsed, &RequestId::of(b"id"), &origin);
        String::from_utf8(out).unwrap()
    }

    fn response(head: &str, framing: Framing) -> String {
        let parsed = ResponseHead::parse(head.as_bytes(), false, vec![]).unwrap();
        let marks = ResponseHeaders {
            worker: WorkerId(12),
            request_id: &RequestId::of(b"id"),
            framing,
            connection: None,
            cookie: None,
        };
        let mut out = Vec::new();
        write_response(&mut out, head.as_bytes(), &parsed, marks);
        String::from_utf8(out).unwrap()
    }

    const OURS: &str = "x-request-id: id\r\nx-forwarded-proto: http\r\nx-forwarded-host: a\r\n\
                        x-forwarded-for: 192.0.2.7\r\n";

    #[test]
    fn hop_by_hop_fields_and_those_that_connection_names_stay_behind() {
        let head = "GET http://a/b?c HTTP/1.1\r\nHost: a\r\nConnection: close, X-Private\r\n\
                    Connection: x-other ,,\r\nX-Private: 1\r\nx-other: 2\r\nKeep-Alive: timeout=5\r\n\
                    TE: trailers\r\nProxy: p\r\nClose: 4\r\nX-Kept: 3\r\nx-request-id: mine\r\n\r\n";
        assert_eq!(request(head, false), format!("GET /b?c HTTP/1.1\r\nhost: a\r\nX-Kept: 3\r\n{OURS}\r\n"));
    }

    #[test]
    fn connection_cannot_name_away_what_frames_or_routes_the_message() {
        let head = "POST / HTTP/1.1\r\nHost: a\r\nConnection: content-length, host, x-request-id\r\n\
                    Content-Length: 3\r\n\r\n";
        assert_eq!(
            request(head, false),
            format!("POST / HTTP/1.1\r\nhost: a\r\n{OURS}content-length: 3\r\n\r\n")
        );
    }

    #[test]
    fn forwarding_fields_come_from_the_connection_unless_the_client_is_trusted() {
        let head = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1\r\nX-Real-IP: 1.1.1.1\r\n\
                    Forwarded: for=1.1.1.1\r\nX_Forwarded_For: 1.1.1.1\r\nX-Forwarded-Proto: https\r\n\r\n";
        assert_eq!(request(head, false), format!("GET / HTTP/1.1\r\nhost: a\r\n{OURS}\r\n"));
        let trusted = request(head, true);
        assert!(trusted.contains("x-forwarded-for: 1.1.1.1, 192.0.2.7\r\n"), "{trusted}");
        assert!(trusted.contains("X-Forwarded-Proto: https\r\n") && trusted.contains("X-Real-IP: 1.1.1.1"));
        assert!(!trusted.contains("proto: http\r\n") && !trusted.contains("X_Forwarded"), "{trusted}");
    }

    #[test]
    fn an_upgrade_and_an_expectation_are_passed_on() {
        let head =
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n";
        assert!(request(head, false).ends_with("connection: upgrade\r\nupgrade: websocket\r\n\r\n"));
        let head = "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-Continue\r\n\r\n";
        assert!(request(head, false).ends_with("transfer-encoding: chunked\r\nexpect: 100-continue\r\n\r\n"));
    }

    #[test]
    fn answers_lose_what_is_of_the_workers_connection_and_get_our_marks() {
        let head = "HTTP/1.1 200 Fine\r\nConnection: close, x-hop\r\nX-Hop: 1\r\nKeep-Alive: x\r\n\
                    Content-Length: 5\r\nx-worker-id: 99\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n";
        assert_eq!(
            response(head, Framing::Length(5)),
            "HTTP/1.1 200 Fine\r\nSet-Cookie: a\r\nSet-Cookie: b\r\ncontent-length: 5\r\n\
             x-worker-id: 12\r\nx-request-id: id\r\n\r\n"
        );
        let head = "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n";
        assert!(!response(head, Framing::Empty).contains("ength"));
        let head = "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n";
        assert!(response(head, Framing::Empty).contains("Content-Length: 5"));
    }

    #[test]
    fn a_request_id_is_kept_when_well_formed() {
        assert_eq!(RequestId::choose(Some(b"abc-1")).as_bytes(), b"abc-1");
        assert_ne!(RequestId::choose(Some(b"a b")).as_bytes(), b"a b");
        assert_eq!(RequestId::choose(None).as_bytes().len(), 32);
    }
}
