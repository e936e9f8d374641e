//! Answers that are odd and right: they pass, and leave no trace.

use std::io::Write;
use std::sync::{Arc, Mutex};

use balancer_proxy::ProxyLimits;

use crate::harness::{Relay, Upstream, read_until, status};
use crate::witness::Witness;

/// Method, what a worker says, and what the client must get of it.
const ODD: &[(&str, &str, &str)] = &[
    ("GET", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200\r\nContent-Length: 0\r\n"),
    ("GET", "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200 \r\nContent-Length: 0\r\n"),
    ("GET", "HTTP/1.0 200 OK\r\nServer: x\r\n\r\nbody", "HTTP/1.1 200 OK\r\nServer: x\r\n"),
    ("GET", "HTTP/1.1 200 \u{fc}ber\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200 \u{fc}ber\r\n"),
    ("GET", "HTTP/1.1 999 Denied\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 999 Denied\r\n"),
    (
        "GET",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: CHUNKED\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n",
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1 ; a = \"b;\"\r\nx\r\n0\r\nA: b\r\n\r\n",
        "HTTP/1.1 200 OK\r\n",
    ),
    ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 000\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 000\r\n"),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nSet-Cookie: b\r\nX:\r\nSet-Cookie: a\r\nset-cookie: c\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nSet-Cookie: b\r\nX: \r\nSet-Cookie: a\r\nset-cookie: c\r\n",
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nDATE: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nDATE: Thu, 01 Jan 1970 00:00:00 GMT\r\n",
    ),
    ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n"),
    (
        "GET",
        "HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nbody",
        "HTTP/1.1 204 No Content\r\nX-Worker-Id",
    ),
    (
        "GET",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\nbody",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n",
    ),
];

#[test]
fn odd_answers_pass_and_leave_no_trace() {
    for (index, (method, said, expected)) in ODD.iter().enumerate() {
        let upstream = Upstream::with(move |stream, _| {
            stream.write_all(said.as_bytes()).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let witness = Witness::start(&format!("odd-{index}"), &[upstream.address], ProxyLimits::default());
        // What comes behind a response that has no body belongs to no response.
        for _ in 0..2 {
            let answer = witness.ask(method);
            assert!(answer.starts_with(expected), "{said:?}: {answer}");
            assert_eq!(answer.matches("X-Request-Id").count(), 1, "{said:?}: {answer}");
        }
        let bodiless = *method == "HEAD" || said.contains(" 204 ") || said.contains(" 304 ");
        assert!(!bodiless || witness.ask(method).ends_with("\r\n\r\n"), "{said:?}");
        assert!(witness.access_lines(2).iter().all(|line| line.get("fault").is_none()), "{said:?}");
        assert!(witness.counts().is_empty() && witness.warnings().is_empty(), "{said:?}");
    }
}

#[test]
fn a_response_may_have_a_larger_head_than_a_request() {
    let fields: String =
        (0..1_000).map(|index| format!("X-Field-{index}: {}\r\n", "x".repeat(200))).collect();
    let head = format!("HTTP/1.1 200 OK\r\n{fields}");
    let upstream = Upstream::with({
        let fields: String = fields.lines().take(999).map(|line| format!("{line}\r\n")).collect();
        move |stream, _| {
            let head = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 4\r\n\r\nbody");
            stream.write_all(head.as_bytes()).unwrap();
        }
    });
    let relay = Relay::start(&[upstream.address], ProxyLimits::default());
    let mut client = relay.send(b"");
    // Again on the same connections, with the same buffers.
    for _ in 0..3 {
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let answer = read_until(&mut client, "\r\n\r\nbody");
        assert_eq!(status(&answer), 200);
        assert!(
            answer.len() > 200_000
                && answer.contains("\r\nX-Field-998: x")
                && head.starts_with(&answer[..100])
        );
    }
}

/// A worker that announces a body where none may be can send it later: it would be the
/// beginning of what the next client gets, if the connection were kept.
#[test]
fn a_connection_is_not_used_again_when_a_body_may_come_that_must_not() {
    for (fields, is_kept) in
        [("Content-Length: 8", false), ("Transfer-Encoding: chunked", false), ("Content-Length: 0", true)]
    {
        let ports = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&ports);
        let upstream = Upstream::with(move |stream, _| {
            seen.lock().unwrap().push(stream.peer_addr().unwrap().port());
            let _ = stream.write_all(format!("HTTP/1.1 204 No Content\r\n{fields}\r\n\r\n").as_bytes());
        });
        let relay = Relay::start(&[upstream.address], ProxyLimits::default());
        let requests =
            "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        let answers = relay.ask(requests.as_bytes());
        assert_eq!(answers.matches("HTTP/1.1 204 No Content\r\n").count(), 2, "{answers}");
        let ports = ports.lock().unwrap();
        assert_eq!((ports.len(), ports[0] == ports[1]), (2, is_kept), "{fields}");
    }
}
