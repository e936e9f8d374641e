//! Heads as they are passed on.

use balancer_http1::{FieldBuffer, Framing, RequestHead, ResponseHead};
use shared_protocol::WorkerId;

use super::{RequestId, ResponseHeaders, write_request, write_response};
use crate::compression::{Coding, Rewrite};
use crate::forwarded::ClientIdentity;

fn request(head: &str, trusted: bool) -> String {
    let mut buffer = FieldBuffer::default();
    let parsed = RequestHead::parse(head.as_bytes(), &mut buffer).unwrap();
    let identity = ClientIdentity::new("::ffff:192.0.2.7".parse().unwrap(), trusted);
    let mut out = Vec::new();
    write_request(&mut out, &parsed, &RequestId::choose(Some(b"id")), &identity);
    String::from_utf8(out).unwrap()
}

fn response(head: &str, framing: Framing) -> String {
    rewritten(head, framing, Rewrite::None)
}

fn rewritten(head: &str, framing: Framing, rewrite: Rewrite) -> String {
    let mut buffer = FieldBuffer::default();
    let parsed = ResponseHead::parse(head.as_bytes(), false, &mut buffer).unwrap();
    let headers = ResponseHeaders {
        worker: WorkerId(12),
        request_id: &RequestId::choose(Some(b"id")),
        framing,
        trailers: false,
        connection: None,
        hsts: None,
        cookie: None,
        rewrite,
    };
    let mut out = Vec::new();
    write_response(&mut out, &parsed, headers);
    String::from_utf8(out).unwrap()
}

const OURS: &str = "X-Request-Id: id\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\n\
                    X-Forwarded-For: 192.0.2.7\r\n";

#[test]
fn hop_by_hop_fields_and_those_that_connection_names_stay_behind() {
    let head = "GET http://a/b?c HTTP/1.1\r\nHost: a\r\nConnection: close, X-Private\r\n\
                Connection: x-other ,,\r\nX-Private: 1\r\nx-other: 2\r\nKeep-Alive: timeout=5\r\n\
                TE: deflate\r\nProxy: p\r\nClose: 4\r\nX-Kept: 3\r\nx-request-id: mine\r\n\r\n";
    assert_eq!(request(head, false), format!("GET /b?c HTTP/1.1\r\nHost: a\r\nX-Kept: 3\r\n{OURS}\r\n"));
}

#[test]
fn who_takes_trailers_is_asked_for_on_each_hop() {
    let head = "GET / HTTP/1.1\r\nHost: a\r\nConnection: TE\r\nTE: gzip, trailers\r\nTE: trailers\r\n\
                Trailer: x\r\n\r\n";
    assert_eq!(
        request(head, false),
        format!("GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n{OURS}Connection: TE\r\n\r\n")
    );
    // An upgrade has no response that trailers could follow.
    let upgrade =
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade, TE\r\nUpgrade: x\r\nTE: trailers\r\n\r\n";
    let upgraded = request(upgrade, false);
    assert!(!upgraded.contains("TE: ") && upgraded.contains("Connection: upgrade\r\n"), "{upgraded}");
}

#[test]
fn connection_cannot_name_away_what_frames_or_routes_the_message() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nConnection: content-length, host, x-request-id\r\n\
                Content-Length: 3\r\n\r\n";
    assert_eq!(
        request(head, false),
        format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n{OURS}\r\n")
    );
}

#[test]
fn forwarding_fields_come_from_the_connection_unless_the_client_is_trusted() {
    let head = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1\r\nX-Real-IP: 1.1.1.1\r\n\
                Forwarded: for=1.1.1.1\r\nX_Forwarded_For: 1.1.1.1\r\nX-Forwarded-Proto: https\r\n\r\n";
    assert_eq!(request(head, false), format!("GET / HTTP/1.1\r\nHost: a\r\n{OURS}\r\n"));
    let trusted = request(head, true);
    assert!(trusted.contains("X-Forwarded-For: 1.1.1.1, 192.0.2.7\r\n"), "{trusted}");
    assert!(trusted.contains("X-Forwarded-Proto: https\r\n") && trusted.contains("X-Real-IP: 1.1.1.1"));
    assert!(!trusted.contains("Proto: http\r\n") && !trusted.contains("X_Forwarded"), "{trusted}");
}

#[test]
fn an_upgrade_and_an_expectation_are_passed_on() {
    let head = "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert!(request(head, false).ends_with("Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"));
    let head = "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-Continue\r\n\r\n";
    let put = "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n";
    assert_eq!(request(head, false), format!("{put}{OURS}\r\n"));
    let head = "GET / HTTP/1.1\r\nHost: a\r\nCONNECTION: Upgrade\r\nupgrade: a\r\nUpgrade: websocket\r\n\r\n";
    assert!(request(head, false).ends_with("CONNECTION: upgrade\r\nupgrade: a, websocket\r\n\r\n"));
}

#[test]
fn responses_lose_what_is_of_the_workers_connection_and_get_our_fields() {
    let head = "HTTP/1.1 200 Fine\r\nConnection: close, x-hop\r\nX-Hop: 1\r\nKeep-Alive: x\r\n\
                Content-Length: 5\r\nx-worker-id: 99\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n";
    assert_eq!(
        response(head, Framing::Length(5)),
        "HTTP/1.1 200 Fine\r\nContent-Length: 5\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\
         X-Worker-Id: 12\r\nX-Request-Id: id\r\n\r\n"
    );
    let head = "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n";
    assert!(!response(head, Framing::Empty).contains("ength"));
    let head = "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n";
    assert!(response(head, Framing::Empty).contains("Content-Length: 5"));
}

#[test]
fn names_are_passed_on_as_the_other_side_wrote_them() {
    let head = "POST / HTTP/1.1\r\nhOST: a\r\naccept: */*\r\nCONTENT-Length: 03\r\nEXPECT: 100-Continue\r\n\
                expect: 100-continue\r\nx-FORWARDED-for: 1.1.1.1\r\nX-Forwarded-Proto: http\r\n\r\n";
    assert_eq!(
        request(head, true),
        "POST / HTTP/1.1\r\nhOST: a\r\naccept: */*\r\nCONTENT-Length: 3\r\nEXPECT: 100-continue\r\n\
         X-Forwarded-Proto: http\r\nX-Request-Id: id\r\nx-FORWARDED-for: 1.1.1.1, 192.0.2.7\r\n\r\n"
    );
    let head = "POST / HTTP/1.1\r\ntransfer-ENCODING: Chunked\r\nHost: a\r\n\r\n";
    assert!(
        request(head, false).starts_with("POST / HTTP/1.1\r\ntransfer-ENCODING: chunked\r\nHost: a\r\nX-")
    );
    assert!(
        request("POST / HTTP/1.0\r\n\r\n", false)
            .starts_with("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nX-Request-Id: ")
    );
    let head = "HTTP/1.1 200 OK\r\ncontent-LENGTH: 05\r\nServer: x\r\n\r\n";
    assert!(
        response(head, Framing::Length(5)).contains("\r\ncontent-LENGTH: 5\r\nServer: x\r\nX-Worker-Id: 12")
    );
    let head = "HTTP/1.1 200 OK\r\nTRANSFER-encoding: Chunked\r\nServer: x\r\n\r\n";
    assert!(response(head, Framing::Chunked).contains("\r\nTRANSFER-encoding: chunked\r\nServer: x\r\nX-"));
    assert!(
        response("HTTP/1.1 200 OK\r\n\r\n", Framing::Chunked).contains("\r\nTransfer-Encoding: chunked\r\n")
    );
}

#[test]
fn lines_of_a_trusted_proxy_are_one_list() {
    let of = |fields: &str| {
        let text = request(&format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"), true);
        assert_eq!(text.matches("X-Forwarded-For: ").count(), 1, "{text}");
        text.split("X-Forwarded-For: ").nth(1).unwrap().split("\r\n").next().unwrap().to_owned()
    };
    for (fields, expected) in [
        (
            "X-Forwarded-For: 1.1.1.1\r\nx-forwarded-for: 2.2.2.2,3.3.3.3\r\n",
            "1.1.1.1, 2.2.2.2, 3.3.3.3, 192.0.2.7",
        ),
        ("X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: \r\n", "1.1.1.1, 192.0.2.7"),
        ("X-Forwarded-For:\r\nX-Forwarded-For: , 2.2.2.2,\r\n", "2.2.2.2, 192.0.2.7"),
        ("X-Forwarded-For:\r\n", "192.0.2.7"),
        ("", "192.0.2.7"),
    ] {
        assert_eq!(of(fields), expected, "{fields:?}");
    }
    let both = request("GET / HTTP/1.1\r\nHost: a\r\nForwarded: for=1\r\nForwarded: for=2\r\n\r\n", true);
    assert!(both.contains("Forwarded: for=1\r\nForwarded: for=2\r\n"), "{both}");
}

#[test]
fn an_id_that_is_passed_on_keeps_its_name_and_a_new_one_has_ours() {
    let with = |field: &str| request(&format!("GET / HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n"), false);
    assert!(with("x-REQUEST-id: id").contains("\r\nx-REQUEST-id: id\r\n"));
    let replaced = with("x-request-id: not well formed");
    assert!(replaced.contains("\r\nX-Request-Id: id\r\n"), "{replaced}");
    assert_eq!(replaced.to_ascii_lowercase().matches("x-request-id:").count(), 1);
}

#[test]
fn browsers_are_told_of_https_unless_the_worker_tells_them() {
    let of = |field: &str| {
        let head = format!("HTTP/1.1 200 OK\r\n{field}Content-Length: 0\r\n\r\n");
        let mut buffer = FieldBuffer::default();
        let parsed = ResponseHead::parse(head.as_bytes(), false, &mut buffer).unwrap();
        let headers = ResponseHeaders {
            worker: WorkerId(1),
            request_id: &RequestId::choose(Some(b"id")),
            framing: Framing::Length(0),
            trailers: false,
            connection: None,
            hsts: Some("max-age=60"),
            cookie: None,
            rewrite: Rewrite::None,
        };
        let mut out = Vec::new();
        write_response(&mut out, &parsed, headers);
        String::from_utf8(out).unwrap()
    };
    assert!(of("").contains("\r\nStrict-Transport-Security: max-age=60\r\n"));
    let own = of("strict-transport-security: max-age=1\r\n");
    assert!(own.contains("strict-transport-security: max-age=1\r\n") && !own.contains("max-age=60"), "{own}");
}

#[test]
fn a_compressed_body_has_a_head_of_its_own() {
    let head = "HTTP/1.1 200 OK\r\nVary: Origin\r\nContent-Length: 9\r\nETag: \"a\"\r\nAccept-Ranges: bytes\r\n\
                Vary: Cookie\r\nX: y\r\n\r\n";
    let gzip = Rewrite::Encode(Coding::Gzip);
    let ours = "X-Worker-Id: 12\r\nX-Request-Id: id\r\n\r\n";
    let rest = "ETag: W/\"a\"\r\nVary: Cookie\r\nX: y\r\n";
    let vary = "Vary: Origin, Accept-Encoding\r\n";
    assert_eq!(
        rewritten(head, Framing::Chunked, gzip),
        format!(
            "HTTP/1.1 200 OK\r\n{vary}{rest}Transfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n{ours}"
        )
    );
    // The response to HEAD, or to a client of HTTP/2.
    for framing in [Framing::Empty, Framing::UntilClose] {
        let expected = format!("HTTP/1.1 200 OK\r\n{vary}{rest}Content-Encoding: gzip\r\n{ours}");
        assert_eq!(rewritten(head, framing, gzip), expected);
    }
    assert_eq!(
        rewritten(head, Framing::Length(9), Rewrite::Vary),
        head.replace("Origin", "Origin, Accept-Encoding").replace("\r\n\r\n", &format!("\r\n{ours}"))
    );
}

#[test]
fn a_tag_that_is_weak_and_a_vary_that_says_it_stay() {
    for vary in ["Vary: *", "Vary: a, accept-encoding", "Vary: a\r\nVary: Accept-Encoding"] {
        let head = format!("HTTP/1.1 200 OK\r\nETag: W/\"a\"\r\n{vary}\r\n\r\n");
        let text = rewritten(&head, Framing::UntilClose, Rewrite::Encode(Coding::Zstd));
        assert!(
            text.contains(&format!("\r\nETag: W/\"a\"\r\n{vary}\r\nContent-Encoding: zstd\r\nX-W")),
            "{text}"
        );
    }
    let empty = rewritten("HTTP/1.1 200 OK\r\nVary:\r\n\r\n", Framing::UntilClose, Rewrite::Vary);
    assert!(empty.contains("\r\nVary: Accept-Encoding\r\nX-W"), "{empty}");
    let head = "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n";
    let text = rewritten(head, Framing::Empty, Rewrite::Revalidated);
    assert!(text.contains("\r\nETag: W/\"a\"\r\nVary: Accept-Encoding\r\nX-W"), "{text}");
}
