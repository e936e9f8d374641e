//! Bodies, interim answers, upgrades and clients that leave: what a proxy must
//! carry, looked at from both of its ends.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use balancer_proxy::ProxyLimits;

use crate::harness::{Relay, TIMEOUT, Upstream, read_all, read_until, status};
use shared_testkit::eventually;

/// A relay in front of a program that `script` plays on its first connection,
/// once the head of a request has come.
fn played(script: impl FnOnce(TcpStream) + Send + 'static) -> Relay {
    played_by(ProxyLimits::default(), script)
}

pub(crate) fn played_by(limits: ProxyLimits, script: impl FnOnce(TcpStream) + Send + 'static) -> Relay {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let relay = Relay::start(&[listener.local_addr().unwrap()], limits);
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        read_until(&mut stream, "\r\n\r\n");
        script(stream);
    });
    relay
}

pub(crate) const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn large_bodies_pass_unchanged_in_both_directions() {
    // Longer than all buffers on the way together, and of no regular form.
    let body: Vec<u8> = (0..4_000_000_u32).map(|number| (number.wrapping_mul(number) >> 7) as u8).collect();
    let upstream = Upstream::with(|stream, seen| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", seen.body.len());
        let _ = stream.write_all(&[head.as_bytes(), &seen.body].concat());
    });
    let relay = Relay::start(&[upstream.address], ProxyLimits::default());
    let head =
        format!("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    let mut client = relay.send(head.as_bytes());
    client.write_all(&body).unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    assert_eq!(answer[answer.len() - body.len()..], body);
    assert!(answer.len() < body.len() + 300);
}

#[test]
fn chunked_answers_arrive_as_they_come_and_trailers_are_dropped() {
    let (go, wait) = mpsc::channel::<()>();
    let relay = played(move |mut stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: T\r\n\r\n").unwrap();
        stream.write_all(b"6\r\nfirst;\r\n").unwrap();
        wait.recv().unwrap();
        stream.write_all(b"6;x=y\r\nsecond\r\n0\r\nT: u\r\n\r\n").unwrap();
    });
    let mut client = relay.send(GET);
    let head = read_until(&mut client, "\r\n\r\n").to_lowercase();
    assert!(head.contains("transfer-encoding: chunked") && !head.contains("trailer"), "{head}");
    assert_eq!(read_until(&mut client, "first;\r\n"), "6\r\nfirst;\r\n", "before the second was sent");
    go.send(()).unwrap();
    assert_eq!(read_until(&mut client, "\r\n\r\n"), "6\r\nsecond\r\n0\r\n\r\n");
}

#[test]
fn events_reach_the_client_within_milliseconds() {
    const EVENTS: usize = 5;
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    // The first event of a stream comes right behind the head, the others by themselves.
    let (mut firsts, mut others) = (Vec::new(), Vec::new());
    for _ in 0..9 {
        let relay = played(move |mut stream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n").unwrap();
            for _ in 0..EVENTS {
                stream.write_all(format!("data: {}\n\n", now()).as_bytes()).unwrap();
                thread::sleep(Duration::from_millis(5));
            }
        });
        let mut client = relay.send(GET);
        read_until(&mut client, "\r\n\r\n");
        for index in 0..EVENTS {
            let event = read_until(&mut client, "\n\n");
            let sent: u128 = event.split("data: ").nth(1).unwrap().trim().parse().unwrap();
            if index == 0 { &mut firsts } else { &mut others }.push(now() - sent);
        }
    }
    for latencies in [&mut firsts, &mut others] {
        latencies.sort_unstable();
        assert!(latencies[latencies.len() / 2] < 20_000_000, "{latencies:?}");
    }
}

#[test]
fn an_answer_that_ends_with_the_connection_is_whole_for_every_version() {
    for (version, end) in [("1.1", "4\r\nbody\r\n0\r\n\r\n"), ("1.0", "\r\n\r\nbody")] {
        let relay = played(|mut stream| stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nbody").unwrap());
        let answer =
            relay.ask(format!("GET / HTTP/{version}\r\nHost: a\r\nConnection: close\r\n\r\n").as_bytes());
        assert!(answer.ends_with(end), "{version}: {answer}");
    }
}

#[test]
fn http_1_0_gets_no_chunks_and_may_keep_its_connection() {
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n";
    let relay = played(|mut stream| stream.write_all(chunked).unwrap());
    let answer = relay.ask(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert!(answer.ends_with("\r\n\r\nbody") && answer.contains("Connection: close"), "{answer}");
    let upstream = Upstream::start();
    let relay = Relay::start(&[upstream.address], ProxyLimits::default());
    let mut client = relay.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    for _ in 0..2 {
        let answer = read_until(&mut client, "\r\n\r\nok");
        assert!(answer.contains("Connection: keep-alive"), "{answer}");
        client.write_all(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").unwrap();
    }
}

#[test]
fn answers_without_a_body_end_with_their_head() {
    for (method, head) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n"),
    ] {
        let upstream = Upstream::with(move |stream, _| stream.write_all(head.as_bytes()).unwrap());
        let relay = Relay::start(&[upstream.address], ProxyLimits::default());
        let mut client = relay.send(b"");
        for _ in 0..3 {
            client.write_all(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).unwrap();
            let answer = read_until(&mut client, "\r\n\r\n");
            assert_eq!(answer.contains("Content-Length: 5"), head.contains("Content-Length"), "{answer}");
        }
    }
}

#[test]
fn a_body_is_sent_only_after_the_worker_has_asked_for_it() {
    let relay = played(|mut stream| {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
        assert_eq!(read_until(&mut stream, "abc"), "abc");
        stream.write_all(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n").unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
    });
    let mut client =
        relay.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(status(&read_until(&mut client, "\r\n\r\n")), 100);
    client.write_all(b"abc").unwrap();
    let hints = read_until(&mut client, "\r\n\r\n");
    assert!(status(&hints) == 103 && hints.contains("Link: x"), "{hints}");
    assert_eq!(status(&read_until(&mut client, "\r\n\r\n")), 200);
}

#[test]
fn an_early_answer_is_passed_on_while_the_request_still_comes() {
    let limits = ProxyLimits { buffer_requests: 0, ..ProxyLimits::default() };
    let relay = played_by(limits, |mut stream| {
        stream.write_all(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno").unwrap();
    });
    let mut client = relay.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nabc");
    let answer = read_until(&mut client, "\r\n\r\nno");
    assert!(status(&answer) == 413 && answer.contains("Connection: close"), "{answer}");
    // It may go on for a while without losing the answer to a reset.
    client.write_all(&[0; 100_000]).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_web_socket_is_a_tunnel() {
    let (done, finished) = mpsc::channel();
    let limits = ProxyLimits {
        response_timeout: Duration::from_millis(100),
        client_timeout: Duration::from_millis(100),
        ..ProxyLimits::default()
    };
    let relay = played_by(limits, move |mut stream| {
        stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\nhello").unwrap();
        let mut buffer = [0; 1024];
        loop {
            match stream.read(&mut buffer).unwrap() {
                0 => break,
                count => stream.write_all(&buffer[..count]).unwrap(),
            }
        }
        stream.write_all(b"bye").unwrap();
        done.send(()).unwrap();
    });
    let head = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n";
    let mut client = relay.send(head);
    let answer = read_until(&mut client, "\r\n\r\nhello");
    assert!(status(&answer) == 101 && answer.contains("\r\nConnection: upgrade"), "{answer}");
    assert!(answer.contains("Upgrade: websocket") && answer.contains("Sec-WebSocket-Accept: x"), "{answer}");
    for message in 0..1_000 {
        let frame = format!("\u{0}message {message}.");
        client.write_all(frame.as_bytes()).unwrap();
        assert_eq!(read_until(&mut client, "."), frame);
    }
    // Longer than every timeout of requests.
    thread::sleep(Duration::from_millis(400));
    client.write_all(b"still here.").unwrap();
    assert_eq!(read_until(&mut client, "."), "still here.");
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(client), "bye");
    finished.recv_timeout(TIMEOUT).unwrap();
}

#[test]
fn a_client_that_resets_its_connection_frees_the_workers() {
    let (done, finished) = mpsc::channel();
    let relay = played(move |mut stream| {
        // The relay closes this connection without having been answered.
        done.send(matches!(stream.read(&mut [0]), Ok(0) | Err(_))).unwrap();
    });
    let client = relay.send(GET);
    eventually("the worker has it", || (relay.pool.ready()[0].in_flight() == 1).then_some(()));
    rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
    drop(client);
    assert!(finished.recv_timeout(TIMEOUT).unwrap());
    eventually("nothing is in flight", || (relay.pool.ready()[0].in_flight() == 0).then_some(()));
}

#[test]
fn an_answer_that_breaks_off_is_not_made_to_look_whole() {
    for head in ["Content-Length: 10", "Transfer-Encoding: chunked"] {
        let relay = played(move |mut stream| {
            stream.write_all(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n4\r\nbody\r\n").as_bytes()).unwrap();
        });
        let answer = relay.ask(GET);
        assert!(!answer.ends_with("0\r\n\r\n") && answer.contains("body"), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1);
    }
}

#[test]
fn an_answer_that_is_no_http_becomes_a_502() {
    for bad in [
        "nonsense\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX : y\r\n\r\n",
    ] {
        let upstream = Upstream::with(move |stream, _| stream.write_all(bad.as_bytes()).unwrap());
        let relay = Relay::start(&[upstream.address], ProxyLimits::default());
        let answer = relay.ask(GET);
        assert_eq!(status(&answer), 502, "{bad}: {answer}");
        assert_eq!(upstream.take().len(), 1, "it is not asked again");
    }
}

#[test]
fn slow_heads_bodies_and_workers_meet_their_deadlines() {
    let short = Duration::from_millis(200);
    let upstream = Upstream::with(|_, _| thread::sleep(TIMEOUT));
    let limits = ProxyLimits {
        head_timeout: short,
        body_timeout: short,
        response_timeout: 2 * short,
        idle_timeout: short,
        linger_timeout: short,
        ..ProxyLimits::default()
    };
    let relay = Relay::start(&[upstream.address], limits);
    for (sent, expected) in [
        ("GET / HTTP/1.1\r\nHost:", 408),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc", 408),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", 504),
    ] {
        let start = Instant::now();
        let answer = relay.ask(sent.as_bytes());
        assert_eq!(status(&answer), expected, "{sent:?}: {answer}");
        assert!(start.elapsed() < Duration::from_secs(3), "{sent:?}: {:?}", start.elapsed());
    }
    // A byte now and then does not buy time.
    let (mut client, start) = (relay.send(b"GET / HTTP/1.1\r\nX: "), Instant::now());
    while client.write_all(b"x").is_ok() && start.elapsed() < TIMEOUT {
        thread::sleep(Duration::from_millis(20));
    }
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert_eq!(relay.ask(b""), "", "an idle connection is closed without a word");
}

#[test]
fn a_kept_connection_that_the_worker_has_closed_costs_nothing() {
    // Closes each connection after one answer without saying so beforehand.
    let upstream = Upstream::with(|stream, _| {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
        stream.shutdown(Shutdown::Both).unwrap();
    });
    let relay = Relay::start(&[upstream.address], ProxyLimits::default());
    let mut client = relay.send(b"");
    for _ in 0..50 {
        client.write_all(GET).unwrap();
        assert_eq!(status(&read_until(&mut client, "\r\n\r\nok")), 200);
    }
}
