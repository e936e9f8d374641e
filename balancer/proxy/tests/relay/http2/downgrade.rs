//! What HTTP/2 can say and HTTP/1.1 cannot, or would understand differently: nothing of it
//! reaches a program (RFC 9113, sections 8.2, 8.3 and 10.3).

use super::client::{
    CONTINUATION, Client, DATA, END_HEADERS, END_STREAM, Frame, GET, GOAWAY, HEADERS, POST, RST_STREAM,
    block, relay,
};
use crate::harness::{Relay, Upstream};

type Fields<'a> = Vec<(&'a [u8], &'a [u8])>;

fn bytes<'a>(fields: &[(&'a str, &'a str)]) -> Fields<'a> {
    fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect()
}

/// `GET` with one more field.
fn with<'a>(name: &'a str, value: &'a [u8]) -> Fields<'a> {
    [bytes(&GET), vec![(name.as_bytes(), value)]].concat()
}

/// `GET` with `value` in place of a pseudo-header.
fn replaced<'a>(name: &str, value: &'a [u8]) -> Fields<'a> {
    bytes(&GET)
        .into_iter()
        .map(|field| if field.0 == name.as_bytes() { (field.0, value) } else { field })
        .collect()
}

fn without(name: &str) -> Fields<'static> {
    bytes(&GET).into_iter().filter(|field| field.0 != name.as_bytes()).collect()
}

/// Is it a refusal: a reset, the end of the connection, or a status of 4xx or 5xx?
fn is_refusal(frame: Option<&Frame>) -> bool {
    match frame {
        None => true,
        Some(frame) if frame.kind == HEADERS => frame.status() >= 400,
        Some(frame) => matches!(frame.kind, RST_STREAM | GOAWAY),
    }
}

/// Sends a request with these fields alone, and says how it is answered.
fn answer(relay: &Relay, fields: &[(&[u8], &[u8])]) -> Option<Frame> {
    let mut client = Client::new(relay);
    client.headers(1, END_STREAM, fields);
    client.next_of(1)
}

#[test]
fn fields_that_http_1_would_read_differently_reach_nobody() {
    let upstream = Upstream::start();
    let relay = relay(&upstream);
    let mut cases: Vec<Fields<'_>> = vec![
        with("transfer-encoding", b"chunked"),
        with("connection", b"close"),
        with("connection", b"x-forwarded-for"),
        with("keep-alive", b"timeout=5"),
        with("proxy-connection", b"keep-alive"),
        with("upgrade", b"websocket"),
        with("upgrade", b"h2c"),
        with("te", b"gzip"),
        with("te", b"trailers, gzip"),
        with("content-length", b"1"),
        with("content-length", b"-1"),
        with("content-length", b"+0"),
        with("content-length", b"0x0"),
        with("content-length", b"18446744073709551616"),
        [with("content-length", b"0"), bytes(&[("content-length", "1")])].concat(),
        [with("content-length", b"0"), bytes(&[("content-length", "0")])].concat(),
        with("expect", b"200-maybe"),
        with("host", b"b"),
        [with("host", b"a"), bytes(&[("host", "a")])].concat(),
        [with("host", b"a"), bytes(&[("host", "b")])].concat(),
        with("x-a", b" leading"),
        with("x-a", b"trailing "),
        with("x-a", b"\ttab"),
        with("X-A", b"upper"),
        with("Host", b"a"),
        with("x a", b"space"),
        with("x:a", b"colon"),
        with("x-a:", b"colon"),
        with("x-a\r\nx-b", b"1"),
        with("x-a\n", b"1"),
        with("x-a\0", b"1"),
        with("", b"1"),
        with("x-\u{e9}", b"1"),
    ];
    for ending in [
        b"\r".as_slice(),
        b"\n",
        b"\0",
        b"\r\n",
        b"\r\nx-b: 1",
        b"\r\n\r\nGET /evil HTTP/1.1\r\n\r\n",
        b"\x7f",
        b"\x01",
    ] {
        cases.push(with("x-a", [b"1", ending].concat().leak()));
        cases.push(with("x-a", [ending, b"1"].concat().leak()));
        cases.push(with("cookie", [b"a=1", ending, b"b"].concat().leak()));
    }
    for case in cases {
        let answer = answer(&relay, &case);
        assert!(is_refusal(answer.as_ref()), "{answer:?} to {}", String::from_utf8_lossy(&block(&case)));
    }
    assert_eq!(upstream.take(), []);
}

#[test]
fn pseudo_headers_that_http_1_would_read_differently_reach_nobody() {
    let upstream = Upstream::start();
    let relay = relay(&upstream);
    let mut cases = vec![
        without(":method"),
        without(":scheme"),
        without(":path"),
        without(":authority"),
        [without(":authority"), without(":path")].concat(),
        [without(":method"), bytes(&[(":method", "GET"), (":method", "GET")])].concat(),
        [bytes(&GET), bytes(&[(":path", "/")])].concat(),
        [bytes(&GET), bytes(&[(":authority", "a")])].concat(),
        [bytes(&GET), bytes(&[(":scheme", "http")])].concat(),
        // Behind a field.
        [vec![(b"x-a".as_slice(), b"1".as_slice())], bytes(&GET)].concat(),
        [without(":path"), bytes(&[("x-a", "1"), (":path", "/")])].concat(),
        [bytes(&GET), bytes(&[(":status", "200")])].concat(),
        [bytes(&GET), bytes(&[(":unknown", "1")])].concat(),
        [bytes(&GET), bytes(&[(":Path", "/")])].concat(),
        [bytes(&GET), bytes(&[(":protocol", "websocket")])].concat(),
        replaced(":scheme", b"ftp"),
        replaced(":scheme", b""),
        replaced(":scheme", b"http://x/"),
        replaced(":scheme", b"http /evil HTTP/1.1\r\n\r\n"),
        replaced(":path", b""),
        replaced(":path", b"*"),
        replaced(":path", b"a"),
        replaced(":path", b"http://b/"),
        replaced(":path", b"//\r\n"),
        replaced(":path", b"?a"),
        replaced(":path", b"/a b"),
        replaced(":path", b"/a\tb"),
        replaced(":path", b"/\xc3\xa9"),
        replaced(":method", b"CONNECT"),
        replaced(":method", b"TRACE"),
        replaced(":method", b""),
        replaced(":method", b"GE T"),
        replaced(":method", b"GET / HTTP/1.1\r\n\r\n"),
        replaced(":method", b"GET\n"),
        replaced(":authority", b""),
        replaced(":authority", b"a b"),
        replaced(":authority", b"a,b"),
        replaced(":authority", b"user@a"),
        replaced(":authority", b"a/b"),
        replaced(":authority", b"a:99999"),
        replaced(":authority", b"a\r\nx-b: 1"),
        bytes(&[(":method", "CONNECT"), (":authority", "a:80")]),
        bytes(&[(":method", "CONNECT"), (":authority", "a:80"), (":protocol", "websocket")]),
        bytes(&[
            (":method", "CONNECT"),
            (":scheme", "http"),
            (":path", "/"),
            (":authority", "a"),
            (":protocol", "x"),
        ]),
    ];
    for name in [":path", ":authority", ":method", ":scheme"] {
        for middle in
            ["\r\n", "\n", "\r", "\0", " HTTP/1.1\r\nx: ", "\r\n\r\nGET /evil HTTP/1.1\r\nhost: a\r\n\r\n"]
        {
            let value = GET.iter().find(|field| field.0 == name).unwrap().1;
            cases.push(replaced(name, format!("{value}{middle}b").leak().as_bytes()));
        }
    }
    for case in cases {
        let answer = answer(&relay, &case);
        assert!(is_refusal(answer.as_ref()), "{answer:?} to {}", String::from_utf8_lossy(&block(&case)));
    }
    assert_eq!(upstream.take(), []);
}

#[test]
fn a_host_may_be_named_in_either_way() {
    let upstream = Upstream::start();
    let relay = relay(&upstream);
    for fields in [
        bytes(&GET),
        with("host", b"a"),
        with("host", b"A"),
        [without(":authority"), bytes(&[("host", "a")])].concat(),
    ] {
        assert_eq!(answer(&relay, &fields).map(|frame| frame.status()), Some(200), "{fields:?}");
    }
    let hosts: Vec<_> = upstream.take().iter().map(|seen| seen.head.matches("host: a\r\n").count()).collect();
    assert_eq!(hosts, [1; 4]);
    let mut options = replaced(":path", b"*");
    options[0].1 = b"OPTIONS";
    assert_eq!(answer(&relay, &options).map(|frame| frame.status()), Some(200));
    assert!(upstream.take()[0].head.starts_with("OPTIONS * HTTP/1.1\r\n"));
}

/// What a fragment says is for the client alone. It is not passed on, and neither does it
/// change the path.
#[test]
fn a_fragment_reaches_nobody() {
    let upstream = Upstream::start();
    let relay = relay(&upstream);
    let _ = answer(&relay, &replaced(":path", b"/a?b#/../c"));
    for seen in upstream.take() {
        assert!(seen.head.starts_with("GET /a?b HTTP/1.1\r\n"), "{}", seen.head);
    }
}

#[test]
fn a_body_is_as_long_as_its_head_says_or_the_request_fails() {
    for (length, parts) in [
        ("3", vec![(b"ab".as_slice(), END_STREAM)]),
        ("3", vec![(b"abcd", END_STREAM)]),
        ("3", vec![(b"abc", 0), (b"d", END_STREAM)]),
        ("0", vec![(b"GET /evil HTTP/1.1\r\nhost: a\r\n\r\n", END_STREAM)]),
        ("5", vec![(b"ab", 0), (b"", END_STREAM)]),
        ("5", vec![(b"", END_STREAM)]),
    ] {
        let upstream = Upstream::start();
        let relay = relay(&upstream);
        let mut client = Client::new(&relay);
        client.headers(1, 0, &[&POST[..], &[("content-length", length)]].concat());
        for (part, flags) in &parts {
            if !client.try_send(&super::client::frame(DATA, *flags, 1, part)) {
                break;
            }
        }
        let answer = client.next_of(1);
        // What has come whole may have been answered before the rest came.
        let is_prefix =
            upstream.take().iter().all(|seen| !seen.head.contains("evil") && seen.body.len() <= 3);
        assert!(is_prefix, "{length} {parts:?}");
        if length != "0" && length != "3" {
            assert!(is_refusal(answer.as_ref()), "{answer:?} to {length} {parts:?}");
        }
    }
}

#[test]
fn trailers_that_mean_something_to_a_head_reach_nobody() {
    let upstream = Upstream::start();
    let relay = relay(&upstream);
    for trailers in [
        vec![("content-length", "9")],
        vec![("host", "b")],
        vec![(":path", "/evil")],
        vec![("x-forwarded-for", "1"), ("cookie", "a"), ("authorization", "b"), ("x_request_id", "c")],
        vec![("transfer-encoding", "chunked")],
    ] {
        let mut client = Client::new(&relay);
        client.headers(1, 0, &POST);
        client.send(DATA, 0, 1, b"abc");
        client.headers(1, END_STREAM, &trailers);
        let _ = client.next_of(1);
        for seen in upstream.take() {
            assert_eq!(seen.body, b"3\r\nabc\r\n0\r\n\r\n", "{trailers:?}");
            assert!(!seen.head.contains("/evil") && !seen.head.contains("content-length"), "{}", seen.head);
        }
    }
}

/// A chunk of the client's own is data like any other.
#[test]
fn data_cannot_end_a_body() {
    let upstream = Upstream::start();
    let relay = relay(&upstream);
    let mut client = Client::new(&relay);
    client.headers(1, 0, &POST);
    let data = b"0\r\n\r\nGET /evil HTTP/1.1\r\nhost: a\r\n\r\n";
    client.send(DATA, END_STREAM, 1, data);
    assert_eq!(client.response(1).0, 200);
    let seen = upstream.take();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!(seen[0].body, [format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n0\r\n\r\n"].concat());
}

/// The limits of heads are those of HTTP/1.
#[test]
fn large_heads_are_refused() {
    let upstream = Upstream::start();
    let relay = relay(&upstream);
    let status = |fields: &[(&str, &str)]| {
        let mut client = Client::new(&relay);
        let block = block(&[&GET[..], fields].concat());
        let mut pieces = block.chunks(16_000).peekable();
        let mut kind = HEADERS;
        while let Some(piece) = pieces.next() {
            let end = if pieces.peek().is_none() { END_HEADERS } else { 0 };
            client.send(kind, end | if kind == HEADERS { END_STREAM } else { 0 }, 1, piece);
            kind = CONTINUATION;
        }
        let frame = client.next_of(1).unwrap();
        assert_eq!(frame.kind, HEADERS, "{frame:?}");
        frame.status()
    };
    let long = "y".repeat(40_000);
    assert_eq!(status(&[("x-a", &long)]), 431);
    assert_eq!(status(&vec![("x-a", "1"); 101]), 431);
    assert_eq!(status(&vec![("x-a", "1"); 90]), 200);
    let path = format!("/{}", "p".repeat(9_000));
    let answer = answer(&relay, &replaced(":path", path.as_bytes())).unwrap();
    assert_eq!(answer.status(), 414);
    assert_eq!(upstream.take().len(), 1);
}
