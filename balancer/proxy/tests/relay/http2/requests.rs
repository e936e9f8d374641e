//! Requests that nothing is wrong with, and what becomes of them.

use std::io::Write;

use shared_testkit::eventually;

use super::client::{
    Client, DATA, END_HEADERS, END_STREAM, GET, GOAWAY, HEADERS, NO_ERROR, POST, RST_STREAM, limits, relay,
};
use crate::harness::{Relay, Upstream, status};

#[test]
fn a_request_reaches_a_program_as_http_1_and_its_response_comes_back() {
    let upstream = Upstream::start();
    let relay = relay(&upstream);
    let mut client = Client::new(&relay);
    let fields =
        [&GET[..], &[("cookie", "a=1"), ("x-a", "b"), ("cookie", "c=2"), ("te", "trailers")]].concat();
    client.headers(1, END_STREAM, &fields);
    assert_eq!(client.response(1), (200, b"ok".to_vec()));
    let seen = upstream.take();
    let head = &seen[0].head;
    assert!(head.starts_with("GET / HTTP/1.1\r\nhost: a\r\ncookie: a=1; c=2\r\nx-a: b\r\n"), "{head}");
    assert!(head.contains("X-Forwarded-For: 127.0.0.1\r\n"), "{head}");
    client.get(3);
    assert_eq!(client.response(3).0, 200, "on the same connection");
}

#[test]
fn bodies_go_as_they_are_framed() {
    let upstream = Upstream::start();
    let relay = relay(&upstream);
    let mut client = Client::new(&relay);
    client.headers(1, 0, &[&POST[..], &[("content-length", "6")]].concat());
    client.send(DATA, 0, 1, b"abc");
    client.send(DATA, END_STREAM, 1, b"def");
    assert_eq!(client.response(1).0, 200);
    client.headers(3, 0, &POST);
    client.send(DATA, 0, 3, b"abc");
    client.send(DATA, 0, 3, b"");
    client.send(DATA, 0, 3, b"def");
    client.send(DATA, END_STREAM, 3, b"");
    assert_eq!(client.response(3).0, 200);
    let seen = upstream.take();
    assert_eq!(seen[0].body, b"abcdef");
    assert!(seen[0].head.contains("content-length: 6\r\n"), "{}", seen[0].head);
    for seen in &seen[1..] {
        assert!(seen.head.contains("transfer-encoding: chunked\r\n"), "{}", seen.head);
        let body = String::from_utf8_lossy(&seen.body);
        let data: String = body.split("\r\n").filter(|part| part.starts_with(['a', 'd'])).collect();
        assert_eq!(data, "abcdef", "{body}");
        assert!(body.ends_with("0\r\n\r\n"), "{body}");
    }
}

#[test]
fn responses_end_with_their_stream_however_the_program_frames_them() {
    for (response, body) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", "ok"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n", "ok"),
        ("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nok", "ok"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", ""),
        ("HTTP/1.1 204 No Content\r\n\r\n", ""),
        ("HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\n\r\n", ""),
    ] {
        let upstream = Upstream::with(|stream, _| {
            let _ = stream.write_all(response.as_bytes());
            if response.contains("close") {
                let _ = stream.shutdown(std::net::Shutdown::Both);
            }
        });
        let relay = relay(&upstream);
        let mut client = Client::new(&relay);
        client.get(1);
        let (status, got) = client.response(1);
        assert_eq!(status, response[9..12].parse::<u16>().unwrap());
        assert_eq!(String::from_utf8(got).unwrap(), body, "{response}");
    }
}

#[test]
fn the_response_to_head_has_no_body() {
    let upstream = Upstream::with(|stream, _| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n");
    });
    let relay = relay(&upstream);
    let mut client = Client::new(&relay);
    let mut fields = GET;
    fields[0].1 = "HEAD";
    client.headers(1, END_STREAM, &fields);
    let frame = client.next().unwrap();
    assert_eq!((frame.kind, frame.status(), frame.ends_stream()), (HEADERS, 200, true));
}

#[test]
fn interim_responses_come_before_the_final_one() {
    let upstream = Upstream::with(|stream, _| {
        let early = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
        let _ = stream.write_all(format!("{early}HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").as_bytes());
    });
    let relay = relay(&upstream);
    let mut client = Client::new(&relay);
    client.get(1);
    let early = client.next().unwrap();
    assert_eq!((early.kind, early.status(), early.ends_stream()), (HEADERS, 103, false));
    assert_eq!(client.response(1), (200, b"ok".to_vec()));
}

#[test]
fn a_program_that_breaks_off_resets_the_stream_and_no_other() {
    let upstream = Upstream::with(|stream, seen| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no");
        if seen.head.starts_with("GET /cut") {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        } else {
            let _ = stream.write_all(b"k");
        }
    });
    let relay = relay(&upstream);
    let mut client = Client::new(&relay);
    let mut fields = GET;
    fields[2].1 = "/cut";
    client.headers(1, END_STREAM, &fields);
    let last = std::iter::from_fn(|| client.next_of(1)).find(|frame| !matches!(frame.kind, HEADERS | DATA));
    assert_eq!(last.map(|frame| frame.kind), Some(RST_STREAM), "half a response is no response");
    client.get(3);
    assert_eq!(client.response(3), (200, b"ok".to_vec()));
}

#[test]
fn an_answer_that_comes_early_ends_the_request_without_an_error() {
    let upstream = Upstream::start();
    let limits = balancer_proxy::ProxyLimits { max_request_body: 10, ..limits() };
    let relay = Relay::start(&[upstream.address], limits);
    let mut client = Client::new(&relay);
    client.headers(1, 0, &[&POST[..], &[("content-length", "20")]].concat());
    assert_eq!(client.response(1).0, 413);
    let reset = client.next_of(1).unwrap();
    assert_eq!((reset.kind, reset.code()), (RST_STREAM, NO_ERROR));
    client.get(3);
    assert_eq!(client.response(3).0, 200);
}

#[test]
fn a_client_that_gives_up_ends_the_request_of_its_worker() {
    let upstream = Upstream::with(|stream, seen| {
        if seen.head.starts_with("GET / ") {
            // Until the relay has gone.
            let _ = std::io::Read::read(stream, &mut [0]);
            let _ = stream.write_all(b"x");
        }
    });
    let relay = relay(&upstream);
    let mut client = Client::new(&relay);
    client.get(1);
    eventually("the request reaches the program", || upstream.take().pop());
    client.reset(1);
    eventually("its worker is free", || (relay.pool.ready()[0].in_flight() == 0).then_some(()));
}

#[test]
fn without_the_setting_there_is_no_prior_knowledge() {
    let upstream = Upstream::start();
    let relay = Relay::start(&[upstream.address], balancer_proxy::ProxyLimits::default());
    let answer = relay.ask(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_eq!(status(&answer), 505, "{answer}");
    assert_eq!(upstream.take(), []);
}

#[test]
fn http_1_is_spoken_beside_it() {
    let upstream = Upstream::start();
    let relay = relay(&upstream);
    let answer = relay.ask(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    assert_eq!(status(&answer), 200, "{answer}");
    // The preface counts at the beginning of a connection only.
    let answer = relay.ask(b"GET / HTTP/1.1\r\nhost: a\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert!(answer.contains("HTTP/1.1 505 "), "{answer}");
}

#[test]
fn the_end_of_the_listeners_asks_clients_to_leave_and_cuts_nothing() {
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let upstream = Upstream::with(move |stream, _| {
        let _ = held.lock().unwrap().recv();
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    });
    let relay = relay(&upstream);
    let mut client = Client::new(&relay);
    client.get(1);
    eventually("the request reaches the program", || upstream.take().pop());
    relay.close();
    let first = client.next().unwrap();
    assert_eq!((first.kind, first.code()), (GOAWAY, NO_ERROR));
    assert_eq!(first.payload[..4], 0x7fff_ffff_u32.to_be_bytes(), "what is on its way is taken");
    let ping = client.next().unwrap();
    client.get(3);
    client.send(ping.kind, super::client::ACK, 0, &ping.payload);
    let second = client.next().unwrap();
    assert_eq!((second.kind, second.code()), (GOAWAY, NO_ERROR));
    assert_eq!(second.payload[..4], 3_u32.to_be_bytes());
    release.send(()).unwrap();
    release.send(()).unwrap();
    let mut ended: Vec<_> = std::iter::from_fn(|| client.next()).collect();
    ended.retain(|frame| frame.ends_stream());
    assert_eq!(ended.len(), 2, "both requests are answered, and then the connection ends");
}

#[test]
fn an_idle_connection_is_ended() {
    let upstream = Upstream::start();
    let idle_timeout = std::time::Duration::from_millis(50);
    let limits = balancer_proxy::ProxyLimits { idle_timeout, linger_timeout: idle_timeout, ..limits() };
    let relay = Relay::start(&[upstream.address], limits);
    let mut client = Client::new(&relay);
    client.get(1);
    assert_eq!(client.response(1).0, 200);
    assert_eq!(client.goaway(), Some(NO_ERROR));
    assert!(client.ends(), "also when the client does not answer");
}

#[test]
fn a_head_in_pieces_is_one_head() {
    let upstream = Upstream::start();
    let relay = relay(&upstream);
    let mut client = Client::new(&relay);
    let block = super::client::block(&[&GET[..], &[("x-long", &"y".repeat(20_000))]].concat());
    let (first, rest) = block.split_at(9);
    client.send(HEADERS, END_STREAM, 1, first);
    for (index, piece) in rest.chunks(16_000).enumerate() {
        let is_last = (index + 1) * 16_000 >= rest.len();
        client.send(super::client::CONTINUATION, if is_last { END_HEADERS } else { 0 }, 1, piece);
    }
    assert_eq!(client.response(1).0, 200);
    assert!(upstream.take()[0].head.contains(&"y".repeat(20_000)));
}
