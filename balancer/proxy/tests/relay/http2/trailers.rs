//! Trailers (RFC 9113, section 8.1), which HTTP/1.1 has behind chunked bodies.

use std::io::Write;

use balancer_proxy::ProxyLimits;
use http::{HeaderMap, Request};

use super::client::{Client, DATA, END_STREAM, POST, limits, relay};
use crate::harness::{Relay, Upstream};

const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n";

/// Body and trailers of the response to a request for `path`, as the `h2` crate reads them.
#[tokio::main(flavor = "current_thread")]
async fn fetch(relay: &Relay, path: &str) -> (Vec<u8>, Option<HeaderMap>) {
    let stream = tokio::net::TcpStream::connect(relay.address).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::get(format!("http://a{path}")).body(()).unwrap();
    let (response, _) = client.send_request(request, true).unwrap();
    let response = response.await.unwrap();
    assert_eq!(response.headers()["trailer"], "x-sum");
    let (mut stream, mut body) = (response.into_body(), Vec::new());
    while let Some(data) = stream.data().await {
        let data = data.unwrap();
        body.extend_from_slice(&data);
        stream.flow_control().release_capacity(data.len()).unwrap();
    }
    let trailers = stream.trailers().await.unwrap();
    connection.abort();
    (body, trailers)
}

fn sum(value: &str) -> Option<HeaderMap> {
    Some(HeaderMap::from_iter([(http::HeaderName::from_static("x-sum"), value.parse().unwrap())]))
}

#[test]
fn trailers_of_a_program_end_the_response() {
    let upstream = Upstream::with(|stream, seen| {
        let end = match seen.head.split(' ').nth(1) {
            Some("/one") => "2\r\nok\r\n0\r\nX-Sum: 7\r\nTransfer-Encoding: x\r\nset-cookie: a=b\r\n\r\n",
            Some("/empty") => "0\r\nx-sum: 8\r\n\r\n",
            _ => "2\r\nok\r\n0\r\nhost: evil\r\n\r\n",
        };
        let _ = stream.write_all(format!("{CHUNKED}{end}").as_bytes());
    });
    let relay = relay(&upstream);
    assert_eq!(fetch(&relay, "/one"), (b"ok".to_vec(), sum("7")));
    assert_eq!(fetch(&relay, "/empty"), (vec![], sum("8")));
    assert_eq!(fetch(&relay, "/none"), (b"ok".to_vec(), None));
}

#[test]
fn trailers_come_behind_a_long_body_that_waits_for_its_window() {
    const LONG: usize = 3_000_000;
    for buffer_responses in [0, 32 << 20] {
        let upstream = Upstream::with(|stream, _| {
            let _ = stream.write_all(format!("{CHUNKED}{LONG:x}\r\n").as_bytes());
            let _ = stream.write_all(&vec![b'x'; LONG]);
            let _ = stream.write_all(b"\r\n0\r\nx-sum: 9\r\n\r\n");
        });
        let relay = Relay::start(&[upstream.address], ProxyLimits { buffer_responses, ..limits() });
        let (body, trailers) = fetch(&relay, "/");
        assert_eq!((body.len(), trailers), (LONG, sum("9")), "{buffer_responses}");
    }
}

#[test]
fn trailers_of_a_client_reach_a_program_behind_a_chunked_body() {
    let upstream = Upstream::start();
    let relay = relay(&upstream);
    let mut client = Client::new(&relay);
    client.headers(1, 0, &[&POST[..], &[("trailer", "x-sum"), ("te", "trailers")]].concat());
    client.send(DATA, 0, 1, b"abc");
    client.headers(1, END_STREAM, &[("x-sum", "1"), ("cookie", "a"), ("x-forwarded-for", "b")]);
    assert_eq!(client.response(1).0, 200);
    let seen = upstream.take().remove(0);
    assert_eq!(String::from_utf8_lossy(&seen.body), "3\r\nabc\r\n0\r\nx-sum:1\r\n\r\n");
    for line in ["\r\ntrailer: x-sum\r\n", "\r\nte: trailers\r\n", "\r\nConnection: TE\r\n"] {
        assert!(seen.head.contains(line), "{}", seen.head);
    }
    // HTTP/1.1 has no place for them behind a body with a length.
    client.headers(3, 0, &[&POST[..], &[("content-length", "3")]].concat());
    client.send(DATA, 0, 3, b"abc");
    client.headers(3, END_STREAM, &[("x-sum", "1")]);
    assert_eq!(client.response(3).0, 200);
    assert_eq!(upstream.take()[0].body, b"abc");
}

#[test]
fn trailers_that_are_too_long_are_refused() {
    let upstream = Upstream::start();
    let relay = relay(&upstream);
    let mut client = Client::new(&relay);
    client.headers(1, 0, &POST);
    client.send(DATA, 0, 1, b"abc");
    client.headers(1, END_STREAM, &[("x-sum", "y".repeat(9_000))]);
    assert_eq!(client.next_of(1).unwrap().status(), 400);
    assert!(upstream.take().iter().all(|seen| !seen.body.contains(&b'y')));
}
