//! Answers: read, rewritten, and read again by somebody else.

use balancer_http1::scan::{MAX_RESPONSE_FIELDS, Scanner};
use balancer_http1::{FieldBuffer, Framing, ResponseHead};
use balancer_proxy::Rewrite;
use balancer_proxy::headers::{RequestId, ResponseHeaders, write_response};
use fastrand::Rng;
use httparse::{EMPTY_HEADER, Status};
use shared_protocol::WorkerId;

use crate::{check_form, named, values};

const OURS: &[&str] = &[
    "content-length",
    "transfer-encoding",
    "x-worker-id",
    "x-request-id",
    "connection",
    "upgrade",
    "host",
    "expect",
];

pub(crate) fn check(input: &[u8], rng: &mut Rng) -> bool {
    let Ok(Some(length)) = Scanner::for_responses().find(input) else { return false };
    let (head, to_head) = (&input[..length], rng.u8(..4) == 0);
    let mut buffer = FieldBuffer::default();
    let Ok(response) = ResponseHead::parse(head, to_head, &mut buffer) else { return false };
    let framing = match response.framing {
        Framing::UntilClose if rng.bool() => Framing::Chunked,
        framing => framing,
    };
    let headers = ResponseHeaders {
        worker: WorkerId(3),
        request_id: &RequestId::choose(Some(b"id")),
        framing,
        trailers: false,
        connection: Some("close"),
        hsts: None,
        cookie: None,
        rewrite: Rewrite::default(),
    };
    let mut out = Vec::new();
    write_response(&mut out, &response, headers);
    check_form(&out);

    let mut space = [EMPTY_HEADER; MAX_RESPONSE_FIELDS + 10];
    let mut theirs = httparse::Response::new(&mut space);
    assert_eq!(theirs.parse(&out), Ok(Status::Complete(out.len())));
    assert_eq!((theirs.version, theirs.code), (Some(1), Some(response.status)));
    let fields = &*theirs.headers;
    let (lengths, codings) = (values(fields, "content-length"), values(fields, "transfer-encoding"));
    match framing {
        Framing::Length(length) => {
            assert_eq!((lengths.as_slice(), codings.len()), ([length.to_string().as_bytes()].as_slice(), 0));
        }
        Framing::Chunked => {
            assert_eq!((lengths.len(), codings.as_slice()), (0, [b"chunked".as_slice()].as_slice()))
        }
        Framing::Empty => assert!(lengths.len() <= 1 && codings.is_empty()),
        Framing::UntilClose => assert_eq!((lengths.len(), codings.len()), (0, 0)),
    }
    assert_eq!(values(fields, "x-worker-id"), [b"3"]);
    assert_eq!(values(fields, "x-request-id"), [b"id"]);
    assert_eq!(values(fields, "connection"), [b"close"]);
    for name in ["keep-alive", "proxy-connection", "te", "trailer"] {
        assert_eq!(values(fields, name).len(), 0, "{name}");
    }
    let mut space = [EMPTY_HEADER; MAX_RESPONSE_FIELDS];
    let mut before = httparse::Response::new(&mut space);
    if before.parse(head).is_ok() {
        for name in named(before.headers).iter().filter(|name| !OURS.contains(&name.as_str())) {
            assert_eq!(values(fields, name).len(), 0, "{name:?} was to end here");
        }
    }
    true
}
