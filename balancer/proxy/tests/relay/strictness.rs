//! Requests that two programs could read differently, sent as raw bytes. Each
//! has the status it must get; whatever is refused must not reach a worker, not
//! even in part, and its connection must end.

use balancer_proxy::ProxyLimits;

use crate::harness::{Relay, Upstream, status};

/// Refused request lines, with the fields of a good request.
const LINES: &[(u16, &str)] = &[
    (400, ""),
    (400, "GET"),
    (400, "GET "),
    (400, "GET /"),
    (400, "GET / "),
    (400, "/ HTTP/1.1"),
    (400, " GET / HTTP/1.1"),
    (400, "GET  / HTTP/1.1"),
    (400, "GET /  HTTP/1.1"),
    (400, "GET / HTTP/1.1 "),
    (400, "GET\t/ HTTP/1.1"),
    (400, "GET /\tHTTP/1.1"),
    (400, "GET /a b HTTP/1.1"),
    (400, "GET / HTTP/1.1 x"),
    (400, "GET / HTTP"),
    (400, "GET / HTTP/"),
    (400, "GET / HTTP/1"),
    (400, "GET / HTTP/1."),
    (400, "GET / HTTP/.1"),
    (400, "GET / HTTP/11"),
    (400, "GET / HTTP/1.1.1"),
    (400, "GET / HTTP/01.1"),
    (400, "GET / HTTP/1.01"),
    (400, "GET / HTTP/1.10"),
    (400, "GET / HTTP/+1.1"),
    (400, "GET / HTTP/1,1"),
    (400, "GET / http/1.1"),
    (400, "GET / HTTPS/1.1"),
    (400, "GET / XTTP/1.1"),
    (400, "GET / HTTP/1.x"),
    (505, "GET / HTTP/0.9"),
    (505, "GET / HTTP/2.0"),
    (505, "GET / HTTP/3.0"),
    (505, "PRI * HTTP/2.0"),
    (400, "G(T / HTTP/1.1"),
    (400, "G\"T / HTTP/1.1"),
    (400, "GET: / HTTP/1.1"),
    (400, "G\u{e9}T / HTTP/1.1"),
    (400, "G\0T / HTTP/1.1"),
    (400, "G\rT / HTTP/1.1"),
    (501, "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG / HTTP/1.1"),
    (405, "CONNECT a:80 HTTP/1.1"),
    (405, "CONNECT / HTTP/1.1"),
    (405, "TRACE / HTTP/1.1"),
    (400, "GET a HTTP/1.1"),
    (400, "GET a:80 HTTP/1.1"),
    (400, "GET * HTTP/1.1"),
    (400, "GET ?a HTTP/1.1"),
    (400, "GET ** HTTP/1.1"),
    (400, "OPTIONS ** HTTP/1.1"),
    (400, "GET /#fragment HTTP/1.1"),
    (400, "GET /\u{e9} HTTP/1.1"),
    (400, "GET /\0 HTTP/1.1"),
    (400, "GET /\r HTTP/1.1"),
    (400, "GET /\u{7f} HTTP/1.1"),
    (400, "GET /\u{b} HTTP/1.1"),
    (400, "GET https://a/ HTTP/1.1"),
    (400, "GET ftp://a/ HTTP/1.1"),
    (400, "GET http:/a HTTP/1.1"),
    (400, "GET http:a HTTP/1.1"),
    (400, "GET http:// HTTP/1.1"),
    (400, "GET http:///a HTTP/1.1"),
    (400, "GET http://?a HTTP/1.1"),
    (400, "GET http://b/ HTTP/1.1"),
    (400, "GET http://a:81/ HTTP/1.1"),
    (400, "GET http://a.b/ HTTP/1.1"),
    (400, "GET http://u@a/ HTTP/1.1"),
    (400, "GET http://u:p@a/ HTTP/1.1"),
    (400, "GET http://a:x/ HTTP/1.1"),
    (400, "GET http://a\\/ HTTP/1.1"),
    (400, "GET //a HTTP/1.1\r\nHost: b"),
];

/// Refused fields, behind a good request line.
const FIELDS: &[(u16, &str)] = &[
    // Host: exactly one, and a host.
    (400, ""),
    (400, "X: a"),
    (400, "Host:"),
    (400, "Host: "),
    (400, "Host: a\r\nHost: a"),
    (400, "Host: a\r\nHost: b"),
    (400, "Host: a\r\nhost: b"),
    (400, "Host: a, b"),
    (400, "Host: a,b"),
    (400, "Host: a b"),
    (400, "Host: a/b"),
    (400, "Host: a?b"),
    (400, "Host: a#b"),
    (400, "Host: u@a"),
    (400, "Host: http://a"),
    (400, "Host: a:b"),
    (400, "Host: a:80:80"),
    (400, "Host: a:99999"),
    (400, "Host: a:-1"),
    (400, "Host: :80"),
    (400, "Host: [::1"),
    (400, "Host: ::1"),
    (400, "Host: [::1]x"),
    (400, "Host: [g::1]"),
    (400, "Host: \u{e9}"),
    (400, "Host: a\0"),
    (400, "Host: a\\b"),
    // The form of a field line.
    (400, "Host : a"),
    (400, "Host\t: a"),
    (400, " Host: a"),
    (400, "Host: a\r\nX : b"),
    (400, "Host: a\r\nX\t: b"),
    (400, "Host: a\r\n : b"),
    (400, "Host: a\r\n: b"),
    (400, "Host: a\r\nX"),
    (400, "Host: a\r\nX b"),
    (400, "Host: a\r\n\tfolded"),
    (400, "Host: a\r\nX: b\r\n folded"),
    (400, "Host: a\r\nX: b\r\n\tfolded"),
    (400, "Host: a\r\nTransfer-Encoding:\r\n chunked"),
    (400, "Host: a\r\nX(: b"),
    (400, "Host: a\r\nX@: b"),
    (400, "Host: a\r\nX[]: b"),
    (400, "Host: a\r\n\"X\": b"),
    (400, "Host: a\r\nX\u{e9}: b"),
    (400, "Host: a\r\nX\0: b"),
    (400, "Host: a\r\nX\r: b"),
    (400, "Host: a\r\nX: b\0"),
    (400, "Host: a\r\nX: b\rc"),
    (400, "Host: a\r\nX: b\r"),
    (400, "Host: a\r\nX: \u{1}"),
    (400, "Host: a\r\nX: \u{8}"),
    (400, "Host: a\r\nX: \u{b}"),
    (400, "Host: a\r\nX: \u{1b}[0m"),
    (400, "Host: a\r\nX: \u{7f}"),
    // Lines that end in LF alone.
    (400, "Host: a\n"),
    (400, "Host: a\nX: b"),
    (400, "Host: a\r\nX: b\nContent-Length: 3"),
    (400, "Host: a\r\nX: b\n\nGET /smuggled HTTP/1.1\r\nHost: a"),
    // Content-Length: one whole number.
    (400, "Host: a\r\nContent-Length:"),
    (400, "Host: a\r\nContent-Length: a"),
    (400, "Host: a\r\nContent-Length: -1"),
    (400, "Host: a\r\nContent-Length: +3"),
    (400, "Host: a\r\nContent-Length: 3 3"),
    (400, "Host: a\r\nContent-Length: 3,3"),
    (400, "Host: a\r\nContent-Length: 3, 3"),
    (400, "Host: a\r\nContent-Length: 3;"),
    (400, "Host: a\r\nContent-Length: 3.0"),
    (400, "Host: a\r\nContent-Length: 0x3"),
    (400, "Host: a\r\nContent-Length: 3e0"),
    (400, "Host: a\r\nContent-Length: \"3\""),
    (400, "Host: a\r\nContent-Length: 99999999999999999999"),
    (400, "Host: a\r\nContent-Length: 18446744073709551619"),
    (400, "Host: a\r\nContent-Length: 3\r\nContent-Length: 3"),
    (400, "Host: a\r\nContent-Length: 3\r\nContent-Length: 4"),
    (400, "Host: a\r\nContent-Length: 0\r\ncontent-length: 3"),
    (400, "Host: a\r\nContent-Length : 3"),
    // Transfer-Encoding: chunked, and not beside a length.
    (400, "Host: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked"),
    (400, "Host: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3"),
    (400, "Host: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 0"),
    (400, "Host: a\r\nTransfer-Encoding: identity\r\nContent-Length: 3"),
    (400, "Host: a\r\nTransfer-Encoding:"),
    (400, "Host: a\r\nTransfer-Encoding: identity"),
    (400, "Host: a\r\nTransfer-Encoding: gzip"),
    (400, "Host: a\r\nTransfer-Encoding: gzip, chunked"),
    (400, "Host: a\r\nTransfer-Encoding: chunked, gzip"),
    (400, "Host: a\r\nTransfer-Encoding: chunked, chunked"),
    (400, "Host: a\r\nTransfer-Encoding: chunked, identity"),
    (400, "Host: a\r\nTransfer-Encoding: identity, chunked"),
    (400, "Host: a\r\nTransfer-Encoding: ,chunked"),
    (400, "Host: a\r\nTransfer-Encoding: chunked,"),
    (400, "Host: a\r\nTransfer-Encoding: xchunked"),
    (400, "Host: a\r\nTransfer-Encoding: chunkedx"),
    (400, "Host: a\r\nTransfer-Encoding: \"chunked\""),
    (400, "Host: a\r\nTransfer-Encoding: chunked;q=1"),
    (400, "Host: a\r\nTransfer-Encoding: chunked\u{b}"),
    (400, "Host: a\r\nTransfer-Encoding: \0chunked"),
    (400, "Host: a\r\nTransfer-Encoding : chunked"),
    (400, "Host: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
    (400, "Host: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity"),
    (400, "Host: a\r\nTransfer-Encoding: x\r\nTransfer-Encoding: chunked"),
    (417, "Host: a\r\nExpect: 200-ok"),
    (417, "Host: a\r\nExpect: 100-continue, x"),
];

/// Refused chunked bodies. Their head may have reached a worker, the request as
/// a whole must not.
const CHUNKS: &[&str] = &[
    "x\r\n",
    "\r\n",
    ";\r\n",
    "-1\r\n",
    "+3\r\nabc\r\n",
    "0x3\r\nabc\r\n",
    " 3\r\nabc\r\n",
    "3 \r\nabc\r\n",
    "3\t\r\nabc\r\n",
    "3\nabc\r\n",
    "3\r\nabcd\r\n",
    "3\r\nabc\n",
    "3\r\nabc0\r\n\r\n",
    "3\r\nabc\r0\r\n\r\n",
    "3\rabc\r\n",
    "3;a\nb\r\nabc\r\n",
    "3;\0\r\nabc\r\n",
    "3;a\rb\r\nabc\r\n",
    "3,3\r\nabc\r\n",
    "3;\r\nabc\r\n0\r\n\r\n",
    "3; \r\nabc\r\n0\r\n\r\n",
    "3;a b\r\nabc\r\n0\r\n\r\n",
    "3;a=\r\nabc\r\n0\r\n\r\n",
    "3;a=\"b\r\nabc\r\n0\r\n\r\n",
    "3;a=b \r\nabc\r\n0\r\n\r\n",
    "3 a\r\nabc\r\n0\r\n\r\n",
    "3\r\nabc\r\n0;\r\n\r\n",
    "0\r\nX a\r\n\r\n",
    "0\r\nX : a\r\n\r\n",
    "3\0\r\nabc\r\n",
    "ffffffffffffffff\r\n",
    "10000000000000003\r\nabc\r\n",
    "0000000000000000000003\r\nabc\r\n",
    "0\n\n",
    "0\r\n\n",
    "0\r\nX: a\n\r\n",
    "0\r\n X: a\r\n\r\n",
    "0\r\nX: \0\r\n\r\n",
    "0\r\nX: a\rb\r\n\r\n",
    "3\r\nabc\r\n0\n\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
];

/// Requests that are fine, and what a worker sees first of them.
const GOOD: &[(&str, &str)] = &[
    ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n"),
    ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n"),
    ("GET / HTTP/1.1\r\nhOsT:\t a \t\r\n\r\n", "GET / HTTP/1.1\r\nhOsT: a\r\n"),
    ("GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\nHost: localhost\r\n"),
    ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n"),
    ("GET http://a HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n"),
    ("GET http://A:80/b?c HTTP/1.1\r\nHost: a\r\n\r\n", "GET /b?c HTTP/1.1\r\nHost: a\r\n"),
    ("GET http://a?c HTTP/1.1\r\nHost: a\r\n\r\n", "GET /?c HTTP/1.1\r\nHost: a\r\n"),
    ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: a\r\n"),
    ("GET //b HTTP/1.1\r\nHost: a\r\n\r\n", "GET //b HTTP/1.1\r\nHost: a\r\n"),
    ("GET /%00?|{}\" HTTP/1.1\r\nHost: a\r\n\r\n", "GET /%00?|{}\" HTTP/1.1\r\nHost: a\r\n"),
    ("M-SEARCH / HTTP/1.1\r\nHost: [::1]:8\r\n\r\n", "M-SEARCH / HTTP/1.1\r\nHost: [::1]:8\r\n"),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: \u{e9}\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX: \u{e9}\r\n"),
    ("GET / HTTP/1.1\r\nHost: a\r\nX:\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX: \r\n"),
    ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n"),
];

/// `refused` gets `expected`, an explanation and the end of its connection.
fn assert_refused(relay: &Relay, refused: &[u8], expected: u16) {
    let shown = String::from_utf8_lossy(refused);
    let answer = relay.ask(refused);
    assert_eq!(status(&answer), expected, "{shown:?}: {answer}");
    assert_eq!(answer.matches("\r\nX-Request-Id: ").count(), 1, "{shown:?} was answered once: {answer}");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("\r\nContent-Type: application/problem+json\r\n"), "{shown:?}: {answer}");
    assert!(
        head.contains("\r\nConnection: close") && head.contains("\r\nX-Request-Id: "),
        "{shown:?}: {answer}"
    );
    let problem: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(problem["status"], expected);
    assert!(problem["detail"].as_str().unwrap().len() > 10, "{shown:?}: {answer}");
}

#[test]
fn malformed_and_ambiguous_heads_are_refused_and_reach_nobody() {
    let upstream = Upstream::start();
    let relay = Relay::start(&[upstream.address], ProxyLimits { half_close: true, ..ProxyLimits::default() });
    for (expected, line) in LINES {
        // The first line of a head may be empty; a second one may not be missing.
        let raw = if line.is_empty() {
            "\r\nHost: a\r\n\r\n".to_owned()
        } else {
            format!("{line}\r\nHost: a\r\n\r\n")
        };
        assert_refused(&relay, raw.as_bytes(), *expected);
    }
    for (expected, fields) in FIELDS {
        let end = if fields.is_empty() { "" } else { "\r\n" };
        for method in ["GET", "POST"] {
            let raw = format!("{method} / HTTP/1.1\r\n{fields}{end}\r\nabc");
            assert_refused(&relay, raw.as_bytes(), *expected);
        }
    }
    assert_eq!(upstream.take(), [], "nothing may reach a worker");
}

#[test]
fn every_control_character_is_refused_wherever_it_stands() {
    let upstream = Upstream::start();
    let relay = Relay::start(&[upstream.address], ProxyLimits { half_close: true, ..ProxyLimits::default() });
    for byte in (0..=0x1f_u8).chain([0x7f]) {
        for (before, after) in [
            ("G", "T / HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("GET /", " HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("GET / HTTP/1.1\r\nHo", "st: a\r\nHost: a\r\n\r\n"),
            ("GET / HTTP/1.1\r\nHost: a", "b\r\n\r\n"),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: a", "b\r\n\r\n"),
        ] {
            // A tab may stand within a value.
            if byte == b'\t' && before.ends_with("X: a") {
                continue;
            }
            assert_refused(&relay, &[before.as_bytes(), &[byte], after.as_bytes()].concat(), 400);
        }
    }
    assert_eq!(upstream.take(), [], "nothing may reach a worker");
}

#[test]
fn malformed_chunks_are_refused_and_complete_nothing() {
    let upstream = Upstream::start();
    let relay = Relay::start(&[upstream.address], ProxyLimits { half_close: true, ..ProxyLimits::default() });
    for chunks in CHUNKS {
        let raw = format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        assert_refused(&relay, raw.as_bytes(), 400);
    }
    let long = format!("3;{}\r\nabc\r\n0\r\n\r\n", "x".repeat(9_000));
    let raw = format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{long}");
    assert_refused(&relay, raw.as_bytes(), 400);
    assert_eq!(upstream.take(), [], "no whole request may reach a worker");
}

#[test]
fn good_requests_reach_a_worker_in_one_form() {
    let upstream = Upstream::start();
    let relay = Relay::start(&[upstream.address], ProxyLimits { half_close: true, ..ProxyLimits::default() });
    for (raw, expected) in GOOD {
        let answer = relay.ask_and_end(raw.as_bytes());
        assert_eq!(status(&answer), 200, "{raw:?}: {answer}");
        let seen = upstream.take();
        assert_eq!(seen.len(), 1, "{raw:?}");
        assert!(seen[0].head.starts_with(expected), "{raw:?}: {}", seen[0].head);
        assert_eq!(seen[0].body, b"", "{raw:?}");
    }
}

#[test]
fn limits_of_size_have_their_own_statuses() {
    let upstream = Upstream::start();
    let relay = Relay::start(
        &[upstream.address],
        ProxyLimits { max_request_body: 10, half_close: true, ..ProxyLimits::default() },
    );
    let long = "a".repeat(9_000);
    assert_refused(&relay, format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes(), 414);
    assert_refused(&relay, format!("GET /{}", "a".repeat(20_000)).as_bytes(), 414);
    assert_refused(&relay, format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", "M".repeat(100_000)).as_bytes(), 501);
    assert_refused(&relay, format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", "(".repeat(100_000)).as_bytes(), 400);
    let many = "X: y\r\n".repeat(100);
    assert_refused(&relay, format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n").as_bytes(), 431);
    assert_refused(&relay, format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "y".repeat(40_000)).as_bytes(), 431);
    let post = "POST / HTTP/1.1\r\nHost: a\r\n";
    assert_refused(&relay, format!("{post}Content-Length: 11\r\n\r\n").as_bytes(), 413);
    // Without being told to go on first.
    assert_refused(
        &relay,
        format!("{post}Content-Length: 11\r\nExpect: 100-continue\r\n\r\n").as_bytes(),
        413,
    );
    let chunked = "Transfer-Encoding: chunked\r\n\r\n";
    assert_refused(&relay, format!("{post}{chunked}6\r\nabcdef\r\n6\r\nabcdef\r\n").as_bytes(), 413);
    assert_eq!(upstream.take(), []);
    let fits = relay.ask_and_end(format!("{post}{chunked}5\r\nabcde\r\n5\r\nabcde\r\n0\r\n\r\n").as_bytes());
    assert_eq!(status(&fits), 200);
    assert_eq!(upstream.take()[0].body, b"5\r\nabcde\r\n5\r\nabcde\r\n0\r\n\r\n");
}

#[test]
fn what_follows_a_body_is_the_next_request_and_nothing_else() {
    let upstream = Upstream::start();
    let relay = Relay::start(&[upstream.address], ProxyLimits { half_close: true, ..ProxyLimits::default() });
    let raw = "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\
               POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nT: u\r\n\r\n\
               GET /3 HTTP/1.1\r\nHost: a\r\n\r\n\
               GET /4 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n\
               GET /5 HTTP/1.1\r\nHost: a\r\n\r\n";
    let answer = relay.ask(raw.as_bytes());
    let codes: Vec<_> = answer.split("HTTP/1.1 ").skip(1).map(|part| &part[..3]).collect();
    assert_eq!(codes, ["200", "200", "200", "400"], "{answer}");
    let seen: Vec<_> =
        upstream.take().into_iter().map(|seen| (seen.head[..7].to_owned(), seen.body)).collect();
    let expected = [
        ("POST /1".to_owned(), b"abc".to_vec()),
        ("POST /2".to_owned(), b"3\r\nabc\r\n0\r\nT:u\r\n\r\n".to_vec()),
        ("GET /3 ".to_owned(), vec![]),
    ];
    assert_eq!(seen, expected);
}
