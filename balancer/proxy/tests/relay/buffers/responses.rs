//! Responses that are read ahead of slow clients.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use balancer_proxy::ProxyLimits;
use shared_testkit::eventually;

use super::{bytes, held, in_flight};
use crate::bodies::{GET, played_by};
use crate::harness::{Relay, TIMEOUT, Upstream, read_until, status};

/// More than all sockets on the way hold.
const LONG: usize = 20_000_000;

/// A long response: its fields, and the frame of its body.
fn long(fields: &str, body: &[u8]) -> Vec<u8> {
    let mut response = format!("HTTP/1.1 200 OK\r\n{fields}\r\n").into_bytes();
    if fields.contains("chunked") {
        for chunk in body.chunks(50_001) {
            response.extend(format!("{:X}\r\n", chunk.len()).into_bytes());
            response.extend([chunk, b"\r\n"].concat());
        }
        response.extend(b"0\r\n\r\n");
    } else {
        response.extend_from_slice(body);
    }
    response
}

fn length(length: usize) -> String {
    format!("Content-Length: {length}\r\n")
}

/// Reads a response with a head and a body of `length` bytes, whatever its frame.
fn read_long(client: &mut TcpStream, length: usize) -> Vec<u8> {
    let head = read_until(client, "\r\n\r\n").to_lowercase();
    assert_eq!(status(&head.to_uppercase()), 200, "{head}");
    let mut body = Vec::new();
    if !head.contains("transfer-encoding: chunked") {
        body.resize(length, 0);
        client.read_exact(&mut body).unwrap();
        return body;
    }
    loop {
        let line = read_until(client, "\r\n");
        let (size, start) = (usize::from_str_radix(line.trim_end(), 16).unwrap(), body.len());
        body.resize(start + size + 2, 0);
        client.read_exact(&mut body[start..]).unwrap();
        body.truncate(start + size);
        if size == 0 {
            return body;
        }
    }
}

#[test]
fn a_slow_reader_lets_its_worker_go() {
    for fields in [length(LONG), "Transfer-Encoding: chunked\r\n".into()] {
        let body = bytes(LONG);
        let response = long(&fields, &body);
        // All on one connection: the relay uses it again as soon as the response is here.
        let relay = played_by(ProxyLimits::default(), move |mut stream| {
            stream.write_all(&response).unwrap();
            for _ in 0..2 {
                read_until(&mut stream, "\r\n\r\n");
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
            }
        });
        let (mut slow, start) = (relay.send(GET), Instant::now());
        eventually("the worker has it", || (in_flight(&relay) == 1).then_some(()));
        eventually("the worker is free", || (in_flight(&relay) == 0).then_some(()));
        assert!(start.elapsed() < TIMEOUT && held(&relay) > 1_000_000, "{:?}", start.elapsed());
        let mut other = relay.send(GET);
        assert_eq!(status(&read_until(&mut other, "\r\n\r\nok")), 200);
        assert!(read_long(&mut slow, LONG) == body, "{fields}");
        eventually("its memory is free", || (held(&relay) == 0).then_some(()));
        slow.write_all(GET).unwrap();
        assert_eq!(status(&read_until(&mut slow, "\r\n\r\nok")), 200, "its connection is kept");
    }
}

#[test]
fn a_response_that_ends_with_the_connection_is_read_ahead_too() {
    for version in ["1.1", "1.0"] {
        let body = bytes(LONG);
        let response = long("", &body);
        let relay = played_by(ProxyLimits::default(), move |mut stream| stream.write_all(&response).unwrap());
        let mut client = relay.send(format!("GET / HTTP/{version}\r\nHost: a\r\n\r\n").as_bytes());
        eventually("the worker has it", || (in_flight(&relay) == 1).then_some(()));
        eventually("the worker is free", || (in_flight(&relay) == 0).then_some(()));
        assert!(read_long(&mut client, LONG) == body, "{version}");
    }
}

#[test]
fn a_response_in_one_piece_needs_no_memory_to_free_its_worker() {
    let body = bytes(20_000);
    let response = long(&length(20_000), &body);
    let upstream = Upstream::with(move |stream, _| stream.write_all(&response).unwrap());
    let limits = ProxyLimits { buffer_responses: 0, ..ProxyLimits::default() };
    let relay = Relay::start(&[upstream.address], limits);
    // Enough requests to fill the client's socket: it has no room for the last responses.
    let mut client = relay.send(&GET.repeat(1_000));
    let mut answered = 0;
    eventually("the client's socket is full", || {
        let before = std::mem::replace(&mut answered, upstream.seen.lock().unwrap().len());
        (answered > 0 && answered == before).then_some(())
    });
    eventually("the worker is free", || (in_flight(&relay) == 0).then_some(()));
    for _ in 0..1_000 {
        assert!(read_long(&mut client, 20_000) == body);
    }
}

#[test]
fn what_is_made_as_the_client_takes_it_is_not_read_ahead() {
    let upgrade = "Connection: upgrade\r\nUpgrade: x\r\n";
    for (ask, fields, buffer_responses) in [
        ("", "Content-Type: text/event-stream\r\n", 64 << 20),
        ("", "X-Accel-Buffering: no\r\n", 64 << 20),
        (upgrade, "", 64 << 20),
        ("", "", 0),
    ] {
        let limits = ProxyLimits { buffer_responses, ..ProxyLimits::default() };
        let response = long(&format!("{fields}{}", length(LONG)), &bytes(LONG));
        let upstream = Upstream::with(move |stream, seen| {
            let plain = seen.head.contains("/plain");
            let _ = if plain {
                stream.write_all(&long(&length(LONG), &[0; LONG]))
            } else {
                stream.write_all(&response)
            };
        });
        // The second relay shows how long a response takes that is read ahead.
        let relay = Relay::start(&[upstream.address], limits);
        let other = Relay::start(&[upstream.address], ProxyLimits::default());
        let mut live = relay.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{ask}\r\n").as_bytes());
        eventually("the worker has it", || (in_flight(&relay) == 1).then_some(()));
        let _plain = other.send(b"GET /plain HTTP/1.1\r\nHost: a\r\n\r\n");
        eventually("the other one is here", || (held(&other) > 0 && in_flight(&other) == 0).then_some(()));
        assert_eq!((in_flight(&relay), held(&relay)), (1, 0), "{ask}{fields}");
        let head = read_until(&mut live, "\r\n\r\n");
        assert!(head.contains(fields.trim_end()), "{head}");
        let mut body = vec![0; LONG];
        live.read_exact(&mut body).unwrap();
        assert!(body == bytes(LONG), "{ask}{fields}");
    }
}

#[test]
fn many_slow_readers_stay_within_the_memory() {
    const BOUND: u64 = 1 << 20;
    let body = bytes(LONG / 2);
    let response = long(&length(body.len()), &body);
    let upstream = Upstream::with(move |stream, _| drop(stream.write_all(&response)));
    let limits = ProxyLimits { buffer_memory: BOUND, ..ProxyLimits::default() };
    let relay = Relay::start(&[upstream.address], limits);
    let mut clients: Vec<TcpStream> = (0..20).map(|_| relay.send(GET)).collect();
    let refused = || relay.counters.buffers.responses_refused.load(Ordering::Relaxed);
    eventually("the memory is used up", || (refused() >= 19).then_some(()));
    assert!((BOUND - 65_536..=BOUND).contains(&held(&relay)), "{}", held(&relay));
    for client in &mut clients {
        assert!(read_long(client, body.len()) == body && held(&relay) <= BOUND);
    }
    eventually("the memory is free", || (held(&relay) == 0).then_some(()));
}

#[test]
fn a_limit_within_a_response_makes_the_worker_wait() {
    for buffer_responses in [1, 1_000, 100_000, 1_000_000] {
        let body = bytes(LONG);
        let response = long(&length(LONG), &body);
        let relay =
            played_by(ProxyLimits { buffer_responses, ..ProxyLimits::default() }, move |mut stream| {
                stream.write_all(&response).unwrap();
            });
        let mut client = relay.send(GET);
        eventually("it is kept", || (held(&relay) > 0).then_some(()));
        assert!(held(&relay) <= buffer_responses + 2 * 65_536);
        assert_eq!(in_flight(&relay), 1);
        assert!(read_long(&mut client, LONG) == body, "{buffer_responses}");
    }
}

/// What a client gets that begins to read once its worker is gone.
fn rest_of(relay: &Relay) -> Vec<u8> {
    let mut client = relay.send(GET);
    eventually("the worker has it", || (in_flight(relay) == 1).then_some(()));
    eventually("the worker is gone", || (in_flight(relay) == 0).then_some(()));
    read_until(&mut client, "\r\n\r\n");
    let mut rest = Vec::new();
    let _ = client.read_to_end(&mut rest);
    rest
}

#[test]
fn a_response_that_breaks_off_in_memory_ends_abruptly_behind_what_there_was() {
    let short = Duration::from_millis(300);
    for (fields, stalls) in [
        (length(2 * LONG), false),
        (length(2 * LONG), true),
        ("Transfer-Encoding: chunked\r\n".into(), false),
    ] {
        let body = bytes(LONG);
        let response = long(&fields, &body);
        let response = response.strip_suffix(b"0\r\n\r\n").unwrap_or(&response).to_vec();
        let limits = ProxyLimits { response_timeout: short, ..ProxyLimits::default() };
        let (_open, closed) = mpsc::channel::<()>();
        let relay = played_by(limits, move |mut stream| {
            stream.write_all(&response).unwrap();
            if stalls {
                let _ = closed.recv();
            }
        });
        let rest = rest_of(&relay);
        assert!(rest.len() >= LONG && !rest.ends_with(b"\r\n0\r\n\r\n"), "{fields} {stalls}: {}", rest.len());
        assert!(fields.contains("chunked") || rest == body);
        assert_eq!(held(&relay), 0);
    }
}

#[test]
fn a_client_that_leaves_or_takes_nothing_frees_the_memory() {
    for leaves in [true, false] {
        let client_timeout = Duration::from_millis(if leaves { 60_000 } else { 500 });
        let response = long(&length(LONG), &bytes(LONG));
        let relay = played_by(ProxyLimits { client_timeout, ..ProxyLimits::default() }, move |mut stream| {
            stream.write_all(&response).unwrap();
        });
        let client = relay.send(GET);
        eventually("all of it is here", || (held(&relay) > 0 && in_flight(&relay) == 0).then_some(()));
        let client = if leaves {
            drop(client);
            None
        } else {
            Some(client)
        };
        eventually("its memory is free", || (held(&relay) == 0).then_some(()));
        drop(client);
    }
}

#[test]
fn a_request_behind_a_slow_response_is_answered_after_it() {
    let body = bytes(LONG);
    let response = long(&length(LONG), &body);
    let upstream = Upstream::with(move |stream, _| stream.write_all(&response).unwrap());
    let relay = Relay::start(&[upstream.address], ProxyLimits::default());
    let mut client = relay.send(&[GET, b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", GET].concat());
    eventually("the first is here", || (held(&relay) > 0 && in_flight(&relay) == 0).then_some(()));
    assert_eq!(upstream.take().len(), 1, "one after the other");
    assert!(read_long(&mut client, LONG) == body);
    // The program behind answers HEAD with a body, which makes its connection useless.
    assert_eq!(status(&read_until(&mut client, "\r\n\r\n")), 200);
    assert!(read_long(&mut client, LONG) == body);
}
