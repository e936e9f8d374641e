//! WebSockets within HTTP/2 (RFC 8441).

use std::io::{Read, Write};

use shared_testkit::eventually;

use super::client::{Client, DATA, END_STREAM, HEADERS, RST_STREAM, relay};
use crate::harness::Upstream;

const CONNECT: [(&str, &str); 6] = [
    (":method", "CONNECT"),
    (":protocol", "websocket"),
    (":scheme", "http"),
    (":path", "/chat"),
    (":authority", "a"),
    ("sec-websocket-version", "13"),
];

const ACCEPTED: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-accept: x\r\n\r\n";

#[test]
fn bytes_go_both_ways_and_each_way_ends_by_itself() {
    let upstream = Upstream::with(|stream, _| {
        let _ = stream.write_all(format!("{ACCEPTED}hello").as_bytes());
        let mut heard = Vec::new();
        let _ = stream.read_to_end(&mut heard);
        let _ = stream.write_all(&[b"heard ", heard.as_slice()].concat());
        let _ = stream.shutdown(std::net::Shutdown::Both);
    });
    let relay = relay(&upstream);
    let mut client = Client::new(&relay);
    client.headers(1, 0, &[&CONNECT[..], &[("sec-websocket-key", "mine")]].concat());
    let head = client.next_of(1).unwrap();
    assert_eq!((head.kind, head.status(), head.ends_stream()), (HEADERS, 200, false));
    assert_eq!(client.next_of(1).unwrap().payload, b"hello");
    client.send(DATA, 0, 1, b"one ");
    client.get(3);
    client.send(DATA, END_STREAM, 1, b"two");
    let mut said = Vec::new();
    loop {
        let frame = client.next_of(1).unwrap();
        assert_eq!(frame.kind, DATA, "{frame:?}");
        said.extend_from_slice(&frame.payload);
        if frame.ends_stream() {
            break;
        }
    }
    assert_eq!(said, b"heard one two");
    let head = &upstream.take()[0].head;
    for line in ["GET /chat HTTP/1.1\r\n", "\r\nconnection: upgrade\r\n", "\r\nupgrade: websocket\r\n"] {
        assert!(head.contains(line), "{head}");
    }
    assert!(!head.contains("mine") && !head.contains("content-length"), "{head}");
    assert!(head.contains("\r\nsec-websocket-key: ") && head.contains("sec-websocket-version: 13"), "{head}");
}

#[test]
fn a_program_may_refuse() {
    for (answer, status) in [("403 Forbidden", 403), ("200 OK", 502)] {
        let upstream = Upstream::with(move |stream, _| {
            let _ = stream.write_all(format!("HTTP/1.1 {answer}\r\ncontent-length: 2\r\n\r\nno").as_bytes());
        });
        let relay = relay(&upstream);
        let mut client = Client::new(&relay);
        client.headers(1, 0, &CONNECT);
        let head = client.next_of(1).unwrap();
        assert_eq!((head.kind, head.status()), (HEADERS, status), "{answer}");
        assert_eq!(client.next_of(1).unwrap().payload, b"no");
    }
}

#[test]
fn a_client_that_gives_up_ends_the_tunnel() {
    let upstream = Upstream::with(|stream, _| {
        let _ = stream.write_all(ACCEPTED.as_bytes());
        let _ = stream.read(&mut [0]);
    });
    let relay = relay(&upstream);
    let mut client = Client::new(&relay);
    client.headers(1, 0, &CONNECT);
    assert_eq!(client.next_of(1).unwrap().status(), 200);
    client.reset(1);
    eventually("its worker is free", || (relay.pool.ready()[0].in_flight() == 0).then_some(()));
}

#[test]
fn a_program_that_dies_ends_the_tunnel() {
    let upstream = Upstream::with(|stream, _| {
        let _ = stream.write_all(ACCEPTED.as_bytes());
        let _ = stream.shutdown(std::net::Shutdown::Both);
    });
    let relay = relay(&upstream);
    let mut client = Client::new(&relay);
    client.headers(1, 0, &CONNECT);
    assert_eq!(client.next_of(1).unwrap().status(), 200);
    let end = client.next_of(1).unwrap();
    assert!(end.ends_stream() || end.kind == RST_STREAM, "{end:?}");
}
