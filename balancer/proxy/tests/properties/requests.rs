//! Requests: found, read, rewritten, and read again by somebody else.

use balancer_http1::scan::{MAX_FIELDS, MAX_HEAD, Scanner};
use balancer_http1::{FieldBuffer, Framing, HttpError, RequestHead};
use balancer_proxy::ProxyField;
use balancer_proxy::forwarded::ClientIdentity;
use balancer_proxy::headers::{self, RequestId};
use fastrand::Rng;
use httparse::{EMPTY_HEADER, Header, Status};

use crate::{check_form, cut, named, values};

/// Fields that are the balancer's own word, whatever a client says of them.
const OURS: &[&str] = &[
    "host",
    "x-request-id",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-for",
    "content-length",
    "transfer-encoding",
    "expect",
    "connection",
    "upgrade",
    "te",
    "trailer",
];
const HOP_BY_HOP: &[&str] = &[
    "close",
    "keep-alive",
    "proxy",
    "proxy-connection",
    "x-worker-id",
    "content_length",
    "transfer_encoding",
];

pub(crate) fn check(input: &[u8], rng: &mut Rng) -> bool {
    let found = Scanner::for_requests().find(input);
    check_parts(input, &found, rng);
    let Ok(Some(length)) = found else { return false };
    let head = &input[..length];
    let mut buffer = FieldBuffer::default();
    let Ok(request) = RequestHead::parse(head, &mut buffer) else { return false };
    check_reading(head, &request);
    let trusted = rng.bool();
    let mut out = Vec::new();
    let id = RequestId::choose(request.fields.last(ProxyField::RequestId));
    let identity = ClientIdentity::new("192.0.2.7".parse().unwrap(), trusted);
    headers::write_request(&mut out, &request, &id, &identity);
    check_rewritten(head, &request, &out, trusted);
    true
}

/// The same decision, however the bytes come.
fn check_parts(input: &[u8], whole: &Result<Option<usize>, HttpError>, rng: &mut Rng) {
    let (mut scanner, mut come, mut result) = (Scanner::for_requests(), 0, Ok(None));
    for part in cut(input, rng) {
        come += part.len();
        result = scanner.find(&input[..come]);
        if !matches!(result, Ok(None)) {
            break;
        }
    }
    match (whole, &result) {
        (Ok(whole), Ok(parts)) => assert_eq!(whole, parts),
        (Err(_), Err(_)) => {}
        other => panic!("whole and in parts: {other:?}"),
    }
}

/// Somebody else reads the same in what the client has sent.
fn check_reading(head: &[u8], request: &RequestHead<'_, ProxyField>) {
    let mut space = [EMPTY_HEADER; MAX_FIELDS];
    let mut theirs = httparse::Request::new(&mut space);
    let version = &head[request.target.len() + request.method.len() + 2..][..8];
    if !matches!(version, b"HTTP/1.0" | b"HTTP/1.1") {
        return; // Other minor versions are HTTP/1.1 to us (RFC 9110, section 2.5), unknown to it.
    }
    assert_eq!(theirs.parse(head), Ok(Status::Complete(head.len())));
    assert_eq!(theirs.method.unwrap().as_bytes(), request.method);
    assert_eq!(theirs.path.unwrap().as_bytes(), request.target);
    assert_eq!(theirs.version == Some(1), request.is_1_1);
    assert_eq!(theirs.headers.len(), request.fields.iter().len());
    for (their, our) in theirs.headers.iter().zip(request.fields.iter()) {
        assert_eq!(their.name.as_bytes(), our.name);
        assert_eq!(their.value, our.value);
    }
    let framed =
        values(theirs.headers, "content-length").len() + values(theirs.headers, "transfer-encoding").len();
    assert!(framed <= 1, "framed {framed} times");
    assert!(framed == 1 || request.framing == Framing::Empty);
    assert!(values(theirs.headers, "host").len() == 1 || !request.is_1_1);
}

/// What goes on is exactly one request, the same one.
fn check_rewritten(head: &[u8], request: &RequestHead<'_, ProxyField>, out: &[u8], trusted: bool) {
    check_form(out);
    let mut space = [EMPTY_HEADER; MAX_FIELDS + 10];
    let mut theirs = httparse::Request::new(&mut space);
    assert_eq!(theirs.parse(out), Ok(Status::Complete(out.len())));
    assert_eq!(theirs.method.unwrap().as_bytes(), request.method);
    let path = theirs.path.unwrap().as_bytes();
    let path = if request.resource.rootless { &path[1..] } else { path };
    assert_eq!(path, request.resource.path);
    assert_eq!(theirs.version, Some(1));
    check_fields(head, request, theirs.headers, trusted);

    // And it passes our own gate, with the same meaning, unless it was near a limit and
    // what we add to it is too much.
    if request.fields.iter().len() > MAX_FIELDS - 10 || out.len() > MAX_HEAD {
        return;
    }
    assert_eq!(Scanner::for_requests().find(out), Ok(Some(out.len())));
    let mut buffer = FieldBuffer::<ProxyField>::default();
    let again = RequestHead::parse(out, &mut buffer).expect("what we write we would accept");
    assert_eq!(again.framing, request.framing);
    assert_eq!(again.method, request.method);
    assert_eq!(again.upgrades, request.upgrades);
}

fn check_fields(head: &[u8], request: &RequestHead<'_, ProxyField>, fields: &[Header<'_>], trusted: bool) {
    let text = |values: Vec<&[u8]>| values.iter().map(|value| value.to_vec()).collect::<Vec<_>>();
    let one = |value: &[u8]| vec![value.to_vec()];
    let lengths = text(values(fields, "content-length"));
    let codings = text(values(fields, "transfer-encoding"));
    match request.framing {
        Framing::Length(length) => {
            assert_eq!((lengths, codings), (one(length.to_string().as_bytes()), vec![]))
        }
        Framing::Chunked => assert_eq!((lengths, codings), (vec![], one(b"chunked"))),
        Framing::Empty => assert!(codings.is_empty() && (lengths.is_empty() || lengths == one(b"0"))),
        Framing::UntilClose => panic!("a request cannot end with its connection"),
    }
    let host = request.host.unwrap_or(b"localhost");
    assert_eq!(text(values(fields, "host")), one(host));
    assert_eq!(values(fields, "x-request-id").len(), 1);
    let upgrades = usize::from(request.upgrades);
    assert_eq!(values(fields, "upgrade").len(), upgrades);
    let connection = match (request.upgrades, request.takes_trailers) {
        (true, _) => vec![b"upgrade".to_vec()],
        (false, true) => one(b"TE"),
        (false, false) => vec![],
    };
    assert_eq!(text(values(fields, "connection")), connection);
    let te = if connection == one(b"TE") { one(b"trailers") } else { vec![] };
    assert_eq!(text(values(fields, "te")), te);
    assert!(values(fields, "trailer").is_empty() || request.framing == Framing::Chunked);
    for name in HOP_BY_HOP {
        assert_eq!(values(fields, name).len(), 0, "{name}");
    }
    if !trusted {
        assert_eq!(text(values(fields, "x-forwarded-for")), one(b"192.0.2.7"));
        assert_eq!(text(values(fields, "x-forwarded-proto")), one(b"http"));
        let claims = ["x-real-ip", "forwarded", "x_forwarded_for"];
        assert!(claims.iter().all(|claim| values(fields, claim).is_empty()));
    }
    let mut space = [EMPTY_HEADER; MAX_FIELDS];
    let mut before = httparse::Request::new(&mut space);
    if before.parse(head).is_ok() {
        for name in named(before.headers).iter().filter(|name| !OURS.contains(&name.as_str())) {
            assert_eq!(values(fields, name).len(), 0, "{name:?} was to end here");
        }
    }
}
