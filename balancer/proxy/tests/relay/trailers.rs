//! Trailers behind chunked bodies of HTTP/1.1 (RFC 9112, section 7.1.2).

use std::io::{Read, Write};

use balancer_proxy::ProxyLimits;

use crate::harness::{Relay, Upstream, read_until};

fn relay(upstream: &Upstream) -> Relay {
    Relay::start(&[upstream.address], ProxyLimits::default())
}

fn answering(response: &'static str) -> Upstream {
    Upstream::with(move |stream, _| {
        let _ = stream.write_all(response.as_bytes());
    })
}

const RESPONSE: &str = "HTTP/1.1 200 OK\r\nTrailer: X-Sum, Host\r\nTransfer-Encoding: chunked\r\n\r\n\
    2\r\nok\r\n0\r\nX-Sum:  7\r\nHost: evil\r\nX_Forwarded_For: evil\r\nSet-Cookie: evil\r\n\r\n";

#[test]
fn clients_that_ask_get_the_trailers_of_a_program() {
    let upstream = answering(RESPONSE);
    let relay = relay(&upstream);
    let answer =
        relay.ask(b"GET / HTTP/1.1\r\nHost: a\r\nTE: deflate, Trailers\r\nConnection: TE, close\r\n\r\n");
    assert!(answer.ends_with("\r\n\r\n2\r\nok\r\n0\r\nX-Sum:7\r\n\r\n"), "{answer}");
    assert!(answer.contains("\r\nTrailer: X-Sum, Host\r\n"), "{answer}");
    let head = upstream.take().remove(0).head;
    assert!(head.contains("\r\nTE: trailers\r\n") && head.ends_with("\r\nConnection: TE\r\n\r\n"), "{head}");
}

#[test]
fn others_do_not() {
    let upstream = answering(RESPONSE);
    let relay = relay(&upstream);
    for fields in ["", "TE: gzip\r\n", "TE: trailers;q=0\r\n", "T_E: trailers\r\n"] {
        let answer =
            relay.ask(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}Connection: close\r\n\r\n").as_bytes());
        assert!(answer.ends_with("\r\n\r\n2\r\nok\r\n0\r\n\r\n") && !answer.contains("X-Sum"), "{answer}");
    }
    let answer = relay.ask(b"GET / HTTP/1.0\r\nHost: a\r\nTE: trailers\r\n\r\n");
    assert!(answer.ends_with("\r\n\r\nok") && !answer.contains("X-Sum"), "{answer}");
    assert!(upstream.take().iter().all(|seen| !seen.head.contains("trailers")));
}

/// What `Connection` names ends at that connection, also behind the body (RFC 9110, 7.6.1).
#[test]
fn trailers_that_connection_may_name_stay_behind() {
    let upstream = answering(
        "HTTP/1.1 200 OK\r\nConnection: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Sum: 7\r\n\r\n",
    );
    let relay = relay(&upstream);
    let answer = relay.ask(
        b"POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: close, x-mine\r\n\
          Transfer-Encoding: chunked\r\n\r\n0\r\nX-Mine: 1\r\n\r\n",
    );
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n0\r\n\r\n"), "{answer}");
    assert_eq!(upstream.take()[0].body, b"0\r\n\r\n");
}

#[test]
fn trailers_of_a_client_reach_a_program() {
    let upstream = Upstream::start();
    let relay = relay(&upstream);
    let mut stream =
        relay.send(b"POST / HTTP/1.1\r\nHost: a\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n");
    for part in
        ["2\r\nab\r\n0\r\nX-S", "um: 1\r\nConte", "nt-Length: 9\r\nX-B:\r\nAuthorization: c\r\n", "\r\n"]
    {
        stream.write_all(part.as_bytes()).unwrap();
    }
    assert!(read_until(&mut stream, "\r\n\r\nok").starts_with("HTTP/1.1 200 "));
    let seen = upstream.take().remove(0);
    assert_eq!(String::from_utf8_lossy(&seen.body), "2\r\nab\r\n0\r\nX-Sum:1\r\nX-B:\r\n\r\n");
    assert!(seen.head.contains("\r\nTrailer: X-Sum\r\n"), "{}", seen.head);
    // And the connection goes on with the next request.
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.starts_with("HTTP/1.1 200 "), "{rest}");
}

/// A client that reads slowly gets its response from memory, and the trailers behind it.
#[test]
fn trailers_come_behind_what_was_read_ahead() {
    const LONG: usize = 12 << 20;
    let upstream = Upstream::with(|stream, _| {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let _ = stream.write_all(format!("{head}{LONG:x}\r\n").as_bytes());
        let _ = stream.write_all(&vec![b'x'; LONG]);
        let _ = stream.write_all(format!("\r\n0\r\nX-Sum: {}\r\n\r\n", "y".repeat(5_000)).as_bytes());
    });
    let relay = relay(&upstream);
    let mut stream =
        relay.send(b"GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE, close\r\n\r\n");
    shared_testkit::eventually("the worker is free", || {
        (!upstream.seen.lock().unwrap().is_empty() && relay.pool.ready()[0].in_flight() == 0).then_some(())
    });
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    let end = format!("\r\n0\r\nX-Sum:{}\r\n\r\n", "y".repeat(5_000));
    assert!(all.len() > LONG && all.ends_with(end.as_bytes()));
}
