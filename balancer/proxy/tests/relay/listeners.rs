//! Listeners of other kinds than the plain one: those behind a load balancer, and those that
//! redirect.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use balancer_access_log::AccessLog;
use balancer_proxy::listener::ListenerOptions;
use balancer_proxy::{AcmeChallenges, ProxyLimits, ProxySources, Redirect};
use shared_testkit::eventually;

use crate::harness::{Relay, Upstream, read_until, status};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
const LINE: &[u8] = b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 80\r\n";

fn version_2() -> Vec<u8> {
    let addresses = [192, 0, 2, 8, 10, 0, 0, 1, 1, 1, 0, 80];
    let extension = [4, 0, 3, 1, 2, 3];
    [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x12"[..], &addresses, &extension].concat()
}

/// A relay that believes PROXY headers from `network`.
fn behind(network: &str, limits: ProxyLimits) -> (Upstream, Relay) {
    let upstream = Upstream::start();
    let sources = ProxySources::Networks(vec![network.parse().unwrap()]);
    let options = ListenerOptions { proxy_protocol: Some(sources), ..ListenerOptions::default() };
    let relay = Relay::with_options(&[upstream.address], limits, AccessLog::default(), options);
    (upstream, relay)
}

/// Connections that were closed because of their source, and of their header.
fn closed(relay: &Relay) -> (u64, u64) {
    let stats = &relay.counters.proxy_protocol;
    (stats.wrong_source.load(Ordering::Relaxed), stats.wrong_header.load(Ordering::Relaxed))
}

#[test]
fn the_client_is_whom_the_load_balancer_names() {
    let (upstream, relay) = behind("127.0.0.0/8", ProxyLimits::default());
    for (header, client) in [
        (LINE, "192.0.2.7"),
        (&version_2(), "192.0.2.8"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
        (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", "127.0.0.1"),
    ] {
        let forged = [header, &REQUEST[..REQUEST.len() - 2], b"X-Forwarded-For: 6.6.6.6\r\n\r\n"].concat();
        assert_eq!(status(&relay.ask(&forged)), 200, "{client}");
        let seen = upstream.take().remove(0).head;
        assert!(seen.contains(&format!("X-Forwarded-For: {client}\r\n")), "{seen}");
    }
    assert_eq!(closed(&relay), (0, 0));
}

#[test]
fn a_header_may_come_byte_by_byte_and_several_requests_follow_it() {
    let (upstream, relay) = behind("127.0.0.1/32", ProxyLimits::default());
    let mut stream = relay.send(b"");
    stream.set_nodelay(true).unwrap();
    for byte in version_2() {
        stream.write_all(&[byte]).unwrap();
    }
    for _ in 0..2 {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        read_until(&mut stream, "ok");
    }
    assert!(upstream.take().iter().all(|seen| seen.head.contains("X-Forwarded-For: 192.0.2.8\r\n")));
}

#[test]
fn who_is_not_named_is_closed_whatever_it_sends() {
    let (upstream, relay) = behind("10.0.0.0/8", ProxyLimits::default());
    for bytes in [LINE, REQUEST, b""] {
        let mut stream = relay.send(bytes);
        // Closed, or reset as bytes were left unread.
        assert!(matches!(stream.read(&mut [0; 64]), Ok(0) | Err(_)), "{bytes:?}");
    }
    eventually("they are counted", || (closed(&relay) == (3, 0)).then_some(()));
    assert!(upstream.take().is_empty());
}

#[test]
fn without_a_header_nothing_is_guessed() {
    let limits = ProxyLimits { head_timeout: Duration::from_millis(100), ..ProxyLimits::default() };
    let (upstream, relay) = behind("127.0.0.1/32", limits);
    let too_long = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200], b"\r\n", REQUEST].concat();
    let bad: [&[u8]; 5] = [REQUEST, b"\x16\x03\x01\x02\0", b"PROXY TCP4 a b 1 1\r\n", &too_long, b"PROXY TC"];
    for bytes in bad {
        let mut stream = relay.send(bytes);
        assert!(matches!(stream.read(&mut [0; 64]), Ok(0) | Err(_)), "{bytes:?}");
    }
    eventually("they are counted", || (closed(&relay) == (0, 5)).then_some(()));
    // Whoever only looks whether somebody listens is no fault.
    drop(relay.send(b""));
    let told = [LINE, REQUEST].concat();
    assert_eq!(status(&relay.ask(&told)), 200);
    assert_eq!((closed(&relay), upstream.take().len()), ((0, 5), 1));
}

#[test]
fn the_limit_per_address_is_that_of_the_client_behind_the_load_balancer() {
    let limits = ProxyLimits { max_connections_per_ip: Some(1), ..ProxyLimits::default() };
    let (_upstream, relay) = behind("127.0.0.1/32", limits);
    let mut first = relay.send(&[LINE, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"].concat());
    read_until(&mut first, "ok");
    assert_eq!(status(&relay.ask(&[LINE, REQUEST].concat())), 503);
    assert_eq!(status(&relay.ask(&[&version_2(), REQUEST].concat())), 200, "another client");
}

#[test]
fn a_listener_that_redirects_answers_everything_itself() {
    let upstream = Upstream::start();
    let challenges = Arc::new(AcmeChallenges::default());
    challenges.insert("token".to_owned(), "authorization".to_owned());
    let redirect = Some(Redirect::new(443, Arc::clone(&challenges)));
    let options = ListenerOptions { redirect, ..ListenerOptions::default() };
    let relay =
        Relay::with_options(&[upstream.address], ProxyLimits::default(), AccessLog::default(), options);
    let ask = |line: &str| {
        relay.ask(format!("{line} HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n").as_bytes())
    };
    let answer = ask("GET /x?y");
    assert!(
        answer.starts_with("HTTP/1.1 301 ") && answer.contains("Location: https://a.example/x?y\r\n"),
        "{answer}"
    );
    let answer = ask("POST /x");
    assert!(
        answer.starts_with("HTTP/1.1 308 ") && answer.contains("Location: https://a.example/x\r\n"),
        "{answer}"
    );
    assert!(ask("GET /.well-known/acme-challenge/token").ends_with("\r\n\r\nauthorization"));
    let with_body = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    assert_eq!(status(&relay.ask(with_body)), 308, "the body is not read, and the connection ends");
    assert_eq!(status(&relay.ask(b"GET / HTTP/1.0\r\n\r\n")), 400);
    assert!(upstream.take().is_empty());
}
