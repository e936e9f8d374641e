//! Bodies that are received before a worker is picked.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use balancer_proxy::ProxyLimits;
use shared_testkit::eventually;

use super::{bytes, held, in_flight};
use crate::bodies::{GET, played_by};
use crate::harness::{Relay, TIMEOUT, Upstream, read_until, status};

fn put(body: &[u8]) -> Vec<u8> {
    with_length("PUT", body)
}

fn with_length(method: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// As chunks of a size that no buffer has.
fn chunked(body: &[u8]) -> Vec<u8> {
    let mut request = b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for chunk in body.chunks(777) {
        request.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
        request.extend([chunk, b"\r\n"].concat());
    }
    request.extend(b"0\r\n\r\n");
    request
}

/// The data of chunks as they were recorded.
fn unchunked(mut chunks: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    loop {
        let end = chunks.windows(2).position(|pair| pair == b"\r\n").unwrap();
        let size = usize::from_str_radix(std::str::from_utf8(&chunks[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            return data;
        }
        data.extend_from_slice(&chunks[end + 2..end + 2 + size]);
        chunks = &chunks[end + 2 + size + 2..];
    }
}

/// Returns when the relay, which has one thread, has looked at all that was sent before.
fn answer_another(relay: &Relay) {
    for _ in 0..3 {
        assert_eq!(status(&relay.ask(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")), 200);
    }
}

/// Keeps all bodies of these tests.
fn roomy() -> ProxyLimits {
    ProxyLimits { buffer_requests: 1 << 20, ..ProxyLimits::default() }
}

#[test]
fn a_worker_sees_nothing_of_a_body_that_is_not_whole() {
    for (length, is_chunked) in [(1_000, false), (30_000, true), (300_000, false), (300_000, true)] {
        let upstream = Upstream::start();
        let relay = Relay::start(&[upstream.address], roomy());
        let body = bytes(length);
        let request = if is_chunked { chunked(&body) } else { put(&body) };
        let (most, last) = request.split_at(request.len() - 1);
        let mut client = relay.send(most);
        answer_another(&relay);
        assert_eq!((upstream.take().len(), in_flight(&relay)), (3, 0), "{length} {is_chunked}");
        client.write_all(last).unwrap();
        assert_eq!(status(&read_until(&mut client, "\r\n\r\nok")), 200);
        let seen = upstream.take().remove(0).body;
        assert!(if is_chunked { unchunked(&seen) } else { seen } == body, "{length} {is_chunked}");
        client.write_all(GET).unwrap();
        assert_eq!(status(&read_until(&mut client, "\r\n\r\nok")), 200);
        assert_eq!(held(&relay), 0);
    }
}

/// A relay whose worker says how much of a body of `length` bytes it has.
fn counting(limits: ProxyLimits, length: usize) -> (Relay, mpsc::Receiver<usize>) {
    let (said, heard) = mpsc::channel();
    let relay = played_by(limits, move |mut stream| {
        let (mut buffer, mut count) = ([0; 1024], 0);
        said.send(0).unwrap();
        while count < length {
            count += stream.read(&mut buffer).unwrap();
            said.send(count).unwrap();
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
    });
    (relay, heard)
}

#[test]
fn what_is_longer_than_the_buffer_streams_once_that_is_full() {
    for buffer_requests in [1, 1_000, 100_000] {
        let limits = ProxyLimits { buffer_requests, ..ProxyLimits::default() };
        let (relay, heard) = counting(limits, 300_000);
        let request = put(&bytes(300_000));
        let full = request.len() - 300_000 + buffer_requests as usize;
        let mut client = relay.send(&request[..full - 1]);
        eventually("it is read", || (held(&relay) > 0 || buffer_requests < 65_536).then_some(()));
        assert_eq!(heard.try_recv(), Err(mpsc::TryRecvError::Empty), "the buffer is not full");
        client.write_all(&request[full - 1..=full]).unwrap();
        while heard.recv_timeout(TIMEOUT).unwrap() < buffer_requests as usize {}
        client.write_all(&request[full + 1..]).unwrap();
        assert_eq!(status(&read_until(&mut client, "\r\n\r\nok")), 200);
        assert_eq!(held(&relay), 0);
    }
}

#[test]
fn what_is_to_be_judged_by_its_head_is_not_held_back() {
    let off = ProxyLimits { buffer_requests: 0, ..ProxyLimits::default() };
    for (limits, fields) in [(off, ""), (ProxyLimits::default(), "Expect: 100-continue\r\n")] {
        let (relay, heard) = counting(limits, 3);
        let head = format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n{fields}\r\n");
        let mut client = relay.send(head.as_bytes());
        assert_eq!(heard.recv_timeout(TIMEOUT), Ok(0), "{fields}");
        client.write_all(b"abc").unwrap();
        assert_eq!(status(&read_until(&mut client, "\r\n\r\nok")), 200);
    }
}

#[test]
fn a_body_that_is_refused_reaches_no_worker() {
    let short = Duration::from_millis(200);
    let limits =
        ProxyLimits { max_request_body: 200_000, body_timeout: short, min_body_rate: u64::MAX, ..roomy() };
    let upstream = Upstream::start();
    let relay = Relay::start(&[upstream.address], limits);
    let chunk = |size| [format!("{size:x}\r\n").into_bytes(), vec![b'x'; size], b"\r\n".to_vec()].concat();
    let head = b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for (rest, ends, expected) in [
        ([chunk(150_000), chunk(60_000)].concat(), false, 413),
        ([chunk(100_000), b"x\r\n".to_vec()].concat(), false, 400),
        (chunk(100_000), true, 400),
        (chunk(100_000), false, 408),
    ] {
        let request = [head.clone(), rest].concat();
        let answer = if ends { relay.ask_and_end(&request) } else { relay.ask(&request) };
        assert_eq!(status(&answer), expected, "{answer}");
    }
    // By its announced length, before any of it was read.
    let answer = relay.ask(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 200001\r\n\r\n");
    assert_eq!(status(&answer), 413, "{answer}");
    assert_eq!((relay.pool.ready()[0].requests(), held(&relay)), (0, 0));
}

#[test]
fn a_whole_body_is_sent_again_when_a_worker_dies_and_the_method_allows_it() {
    for (method, length, expected) in [("PUT", 700_000, 200), ("PUT", 40_000, 200), ("POST", 700_000, 502)] {
        let has_died = AtomicBool::new(false);
        let upstream = Upstream::with(move |stream, _| {
            if has_died.swap(true, Ordering::SeqCst) {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
            } else {
                stream.shutdown(Shutdown::Both).unwrap();
            }
        });
        let relay = Relay::start(&[upstream.address; 2], roomy());
        let body = bytes(length);
        let mut client = relay.send(&with_length(method, &body));
        assert_eq!(status(&read_until(&mut client, "\r\n\r\n")), expected, "{method} {length}");
        let seen = upstream.take();
        assert_eq!(seen.len(), if expected == 200 { 2 } else { 1 }, "{method} {length}");
        assert!(seen.iter().all(|seen| seen.body == body), "{method} {length}");
        eventually("its memory is free", || (held(&relay) == 0).then_some(()));
    }
}

#[test]
fn a_client_that_leaves_frees_its_memory() {
    let upstream = Upstream::start();
    let relay = Relay::start(&[upstream.address], roomy());
    let request = put(&bytes(500_000));
    let client = relay.send(&request[..300_000]);
    eventually("it is kept", || (held(&relay) > 200_000).then_some(()));
    drop(client);
    eventually("its memory is free", || (held(&relay) == 0).then_some(()));
    assert_eq!(relay.pool.ready()[0].requests(), 0);
}

#[test]
fn what_the_memory_has_no_room_for_streams() {
    const BOUND: u64 = 4 * 65_536;
    let upstream = Upstream::start();
    let limits = ProxyLimits { buffer_memory: BOUND, ..roomy() };
    let relay = Relay::start(&[upstream.address], limits);
    let request = put(&bytes(500_000));
    let mut clients: Vec<TcpStream> = (0..8).map(|_| relay.send(&request[..400_000])).collect();
    eventually("the memory is used up", || (in_flight(&relay) >= 7).then_some(()));
    assert!(held(&relay) <= BOUND);
    for client in &mut clients {
        client.write_all(&request[400_000..]).unwrap();
        assert_eq!(status(&read_until(client, "\r\n\r\nok")), 200);
    }
    assert!(upstream.take().iter().all(|seen| seen.body == request[request.len() - 500_000..]));
    assert_eq!(held(&relay), 0);
    assert!(relay.counters.buffers.requests_refused.load(Ordering::Relaxed) >= 7);
}

#[test]
fn bodies_may_follow_one_another_without_a_wait() {
    let upstream = Upstream::start();
    let relay = Relay::start(&[upstream.address], roomy());
    let (first, second) = (bytes(200_000), bytes(90_000));
    let mut client = relay.send(&[&put(&first)[..], &chunked(&second), GET, &put(&first)].concat());
    for _ in 0..4 {
        assert_eq!(status(&read_until(&mut client, "\r\n\r\nok")), 200);
    }
    let seen = upstream.take();
    assert!(seen[0].body == first && unchunked(&seen[1].body) == second && seen[3].body == first);
}

#[test]
fn a_body_that_cannot_be_sent_again_trusts_no_connection_that_was_idle() {
    // Behind a full buffer, whose blocks are freed as they are sent, and beyond what is kept of
    // a body that streams. The last one is kept whole.
    for (buffer_requests, length) in [(256 << 10, (256 << 10) + 9_000), (50_000, 80_000), (0, 30_000)] {
        let used = Mutex::new(HashSet::new());
        let upstream = Upstream::with(move |stream, _| {
            if used.lock().unwrap().insert(stream.peer_addr().unwrap()) {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
            } else {
                // Its time as an idle connection was over just as the request came.
                stream.shutdown(Shutdown::Both).unwrap();
            }
        });
        let limits = ProxyLimits { buffer_requests, ..ProxyLimits::default() };
        let relay = Relay::start(&[upstream.address; 2], limits);
        let mut client = relay.send(&GET.repeat(2));
        for _ in 0..2 {
            assert_eq!(status(&read_until(&mut client, "\r\n\r\nok")), 200);
        }
        // Longer than a connection counts as just used.
        thread::sleep(Duration::from_secs(1));
        client.write_all(&put(&bytes(length))).unwrap();
        let answer = read_until(&mut client, "\r\n\r\n");
        assert_eq!(status(&answer), 200, "{buffer_requests} {length}: {answer}");
    }
}

#[test]
fn a_body_is_not_kept_once_its_worker_has_answered_and_has_it() {
    // More than the sockets hold, so that the worker has not all of it when it answers.
    const LENGTH: usize = 20_000_000;
    let limits = ProxyLimits { buffer_requests: 32 << 20, buffer_responses: 0, ..ProxyLimits::default() };
    let (go_on, wait) = mpsc::channel::<()>();
    let relay = played_by(limits, move |mut stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab").unwrap();
        stream.read_exact(&mut vec![0; LENGTH]).unwrap();
        let _ = wait.recv();
        let _ = stream.write_all(b"cd");
    });
    let mut client = relay.send(&put(&bytes(LENGTH)));
    read_until(&mut client, "\r\n\r\nab");
    eventually("its memory is free", || (held(&relay) == 0).then_some(()));
    assert_eq!(in_flight(&relay), 1, "the response still comes");
    drop(go_on);
    read_until(&mut client, "cd");
}
