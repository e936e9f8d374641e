//! The known attacks on HTTP/2 servers: each is bounded, and the connection that makes it
//! is ended where the client cannot be honest.

use std::io::Write;
use std::time::Duration;

use balancer_proxy::ProxyLimits;
use balancer_state::http2::Http2Ending;
use shared_testkit::eventually;

use super::client::{
    CONTINUATION, Client, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, FLOW_CONTROL_ERROR, GET, GOAWAY,
    HEADERS, PING, POST, PRIORITY, PROTOCOL_ERROR, RST_STREAM, SETTINGS, WINDOW_UPDATE, block, frame, limits,
    relay,
};
use crate::harness::{Relay, Upstream};

/// Sends what `flood` makes until the relay ends the connection, and returns the code that
/// it ends it with. `most` bounds the number of pieces.
fn flood(client: &mut Client, most: u32, mut flood: impl FnMut(u32) -> Vec<u8>) -> Option<u32> {
    let mut reader = Client { stream: client.stream.try_clone().unwrap() };
    let reading = std::thread::spawn(move || reader.goaway());
    for index in 0..most {
        if reading.is_finished() || !client.try_send(&flood(index)) {
            break;
        }
    }
    reading.join().unwrap()
}

/// The relay is well: others are served.
fn serves(relay: &Relay) {
    let mut client = Client::new(relay);
    client.get(1);
    assert_eq!(client.response(1), (200, b"ok".to_vec()));
}

/// Waits until the relay has counted an ending.
fn counted(relay: &Relay, ending: Http2Ending) {
    eventually("the ending is counted", || (relay.counters.http2.count(ending) > 0).then_some(()));
}

/// CVE-2023-44487: requests that are given up as soon as they are made.
#[test]
fn rapid_resets_end_the_connection() {
    let upstream = Upstream::with(|_, _| {});
    let relay = relay(&upstream);
    let mut client = Client::new(&relay);
    let code = flood(&mut client, 10_000, |index| {
        let reset = frame(RST_STREAM, 0, 2 * index + 1, &8_u32.to_be_bytes());
        [frame(HEADERS, END_STREAM | END_HEADERS, 2 * index + 1, &block(&GET)), reset].concat()
    });
    assert_eq!(code, Some(ENHANCE_YOUR_CALM));
}

/// The same, slowly enough that each request is begun.
#[test]
fn slow_resets_end_the_connection_as_well() {
    let upstream = Upstream::with(|_, _| {});
    let relay = relay(&upstream);
    let mut client = Client::new(&relay);
    let mut stream = 1;
    let code = loop {
        client.get(stream);
        client.send(PING, 0, 0, b"settled!");
        client.reset(stream);
        client.send(PING, 0, 0, b"settled!");
        let mut frames = (0..2).map(|_| client.next().expect("GOAWAY"));
        if let Some(goaway) = frames.find(|frame| frame.kind == GOAWAY) {
            break goaway.code();
        }
        stream += 2;
        assert!(stream < 2 * 2_000, "it goes on");
    };
    assert_eq!(code, ENHANCE_YOUR_CALM);
    assert!(stream > 2 * 200, "a client may give up some");
    counted(&relay, Http2Ending::Resets);
    eventually("no worker is kept busy", || (relay.pool.ready()[0].in_flight() == 0).then_some(()));
}

/// CVE-2025-8671: frames that make the server itself reset its streams.
#[test]
fn made_resets_end_the_connection() {
    let upstream = Upstream::with(|_, _| {});
    let relay = relay(&upstream);
    let mut client = Client::new(&relay);
    let code = flood(&mut client, 10_000, |index| {
        let stream = 2 * index + 1;
        // An increment of 0 is an error of the stream.
        let wrong = frame(WINDOW_UPDATE, 0, stream, &[0; 4]);
        [frame(HEADERS, END_STREAM | END_HEADERS, stream, &block(&GET)), wrong].concat()
    });
    assert!(matches!(code, Some(ENHANCE_YOUR_CALM | PROTOCOL_ERROR)), "{code:?}");
}

/// CVE-2024-27316 and others: a head without an end.
#[test]
fn continuations_without_end_end_the_connection() {
    for piece in [block(&[("x-a", &"y".repeat(1_000))]), block(&[("x", "y")]), vec![]] {
        let upstream = Upstream::start();
        let relay = relay(&upstream);
        let mut client = Client::new(&relay);
        client.send(HEADERS, END_STREAM, 1, &block(&GET));
        let code = flood(&mut client, 100_000, |_| frame(CONTINUATION, 0, 1, &piece));
        assert!(code.is_some(), "{}", piece.len());
        assert_eq!(upstream.take(), []);
        serves(&relay);
    }
}

/// CVE-2019-9512, 9513 and 9515: frames that are cheap to send and are answered, or looked
/// at, for nothing.
#[test]
fn floods_of_frames_that_carry_nothing_end_the_connection() {
    for (kind, stream, payload) in [
        (PING, 0, vec![7; 8]),
        (SETTINGS, 0, vec![]),
        (SETTINGS, 0, vec![0, 3, 0, 0, 0, 9]),
        (PRIORITY, 1, vec![0, 0, 0, 3, 9]),
        (WINDOW_UPDATE, 0, vec![0, 0, 0, 1]),
        (0xfa, 0, vec![]),
    ] {
        let upstream = Upstream::start();
        let relay = relay(&upstream);
        let mut client = Client::new(&relay);
        let frames = frame(kind, 0, stream, &payload).repeat(100);
        let code = flood(&mut client, 10_000, |_| frames.clone());
        assert_eq!(code, Some(ENHANCE_YOUR_CALM), "kind {kind}");
        counted(&relay, Http2Ending::Flood);
        serves(&relay);
    }
}

/// CVE-2019-9518: parts of a body that are empty.
#[test]
fn empty_data_without_end_ends_the_connection() {
    let upstream = Upstream::start();
    let relay = relay(&upstream);
    let mut client = Client::new(&relay);
    client.headers(1, 0, &POST);
    let code = flood(&mut client, 100_000, |_| frame(DATA, 0, 1, b""));
    assert_eq!(code, Some(ENHANCE_YOUR_CALM));
    serves(&relay);
}

/// CVE-2019-9516: fields without a name.
#[test]
fn fields_without_a_name_end_the_connection() {
    let upstream = Upstream::start();
    let relay = relay(&upstream);
    let mut client = Client::new(&relay);
    client.send(HEADERS, END_STREAM | END_HEADERS, 1, &[0, 0, 0].repeat(1_000));
    assert!(client.goaway().is_some());
    assert_eq!(upstream.take(), []);
    serves(&relay);
}

/// An "HPACK bomb": a long field that is put into the table once and then referred to.
#[test]
fn a_head_that_unpacks_to_megabytes_is_not_unpacked() {
    let upstream = Upstream::start();
    let relay = relay(&upstream);
    let mut client = Client::new(&relay);
    let mut bomb = block(&GET);
    // With indexing (RFC 7541, section 6.2.1): it becomes entry 62.
    let mut field = block(&[("x-bomb", "y".repeat(4_000))]);
    field[0] = 0x40;
    bomb.extend_from_slice(&field);
    bomb.extend_from_slice(&[0x80 | 62; 10_000]);
    client.send(HEADERS, END_STREAM | END_HEADERS, 1, &bomb);
    assert_eq!(client.goaway(), Some(ENHANCE_YOUR_CALM));
    assert_eq!(upstream.take(), []);
    counted(&relay, Http2Ending::Flood);
}

/// CVE-2019-9517: a client that has a large window and does not read its socket.
#[test]
fn a_client_that_does_not_read_holds_little_memory_and_is_ended() {
    let body = vec![b'x'; 8 << 20];
    let upstream = Upstream::with(move |stream, _| {
        let _ =
            stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len()).as_bytes());
        let _ = stream.write_all(&body);
    });
    let client_timeout = Duration::from_millis(300);
    let limits = ProxyLimits { client_timeout, buffer_responses: 0, ..limits() };
    let relay = Relay::start(&[upstream.address], limits);
    let mut client = Client::with_settings(&relay, &[(4, 0x7fff_ffff)]);
    client.send(WINDOW_UPDATE, 0, 0, &0x7000_0000_u32.to_be_bytes());
    for stream in 0..20 {
        client.get(2 * stream + 1);
    }
    counted(&relay, Http2Ending::Stalled);
    eventually("no worker is kept busy", || (relay.pool.ready()[0].in_flight() == 0).then_some(()));
}

/// A window that stays shut: the request ends at the client's timeout, and others go on.
#[test]
fn a_window_that_stays_shut_holds_up_nobody_else() {
    let upstream = Upstream::start();
    let limits = ProxyLimits { client_timeout: Duration::from_millis(200), ..limits() };
    let relay = Relay::start(&[upstream.address], limits);
    let mut client = Client::with_settings(&relay, &[(4, 0)]);
    client.get(1);
    let head = client.next_of(1).unwrap();
    assert_eq!((head.kind, head.status()), (HEADERS, 200));
    client.get(3);
    assert_eq!(client.next_of(3).unwrap().status(), 200);
    client.send(WINDOW_UPDATE, 0, 3, &100_u32.to_be_bytes());
    let data = client.next_of(3).unwrap();
    assert_eq!((data.kind, data.payload.as_slice()), (DATA, b"ok".as_slice()));
    let reset = client.next_of(1).unwrap();
    assert_eq!((reset.kind, reset.stream), (RST_STREAM, 1));
}

/// Requests that never send the body that they announce.
#[test]
fn requests_without_their_bodies_end_in_time() {
    let upstream = Upstream::start();
    let limits = ProxyLimits { body_timeout: Duration::from_millis(200), ..limits() };
    let relay = Relay::start(&[upstream.address], limits);
    let mut client = Client::new(&relay);
    let streams: Vec<u32> = (0..100).map(|index| 2 * index + 1).collect();
    for &stream in &streams {
        client.headers(stream, 0, &POST);
    }
    let mut refused = 0;
    while refused < streams.len() {
        let frame = client.next().expect("an answer for each");
        if frame.kind == HEADERS {
            // The table of the encoder shortens what it repeats.
            refused += 1;
        }
    }
    client.get(1_001);
    assert_eq!(client.next_of(1_001).map(|frame| frame.kind), Some(HEADERS));
    assert_eq!(upstream.take().len(), 1);
}

/// More requests at a time than there may be are refused without being begun.
#[test]
fn requests_beyond_the_limit_are_refused() {
    let upstream = Upstream::with(|_, _| {});
    let relay = relay(&upstream);
    let mut client = Client::new(&relay);
    for index in 0..200 {
        client.get(2 * index + 1);
    }
    let mut refused = 0;
    while refused < 200 - 128 {
        let frame = client.next().expect("refusals");
        assert_eq!((frame.kind, frame.code()), (RST_STREAM, 7), "REFUSED_STREAM");
        refused += 1;
    }
    eventually("the others are carried out", || (upstream.seen.lock().unwrap().len() == 128).then_some(()));
}

/// Windows have a largest size (RFC 9113, section 6.9.1).
#[test]
fn a_window_that_overflows_is_an_error() {
    let upstream = Upstream::start();
    let relay = relay(&upstream);
    let mut client = Client::new(&relay);
    for _ in 0..2 {
        let _ = client.try_send(&frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes()));
    }
    assert_eq!(client.goaway(), Some(FLOW_CONTROL_ERROR));
    counted(&relay, Http2Ending::ProtocolError);
}

/// CVE-2019-9511: responses that are taken byte by byte.
#[test]
fn a_response_that_is_taken_byte_by_byte_comes_whole() {
    let upstream = Upstream::start();
    let relay = relay(&upstream);
    let mut client = Client::with_settings(&relay, &[(4, 1)]);
    client.get(1);
    assert_eq!(client.next_of(1).unwrap().kind, HEADERS);
    assert_eq!(client.next_of(1).unwrap().payload, b"o");
    client.send(WINDOW_UPDATE, 0, 1, &1_u32.to_be_bytes());
    let last = client.next_of(1).unwrap();
    assert_eq!((last.payload.as_slice(), last.ends_stream()), (b"k".as_slice(), true));
}

/// A connection that says nothing, or half of its preface, ends in time.
#[test]
fn half_a_preface_ends_in_time() {
    let upstream = Upstream::start();
    let head_timeout = Duration::from_millis(100);
    let limits = ProxyLimits { head_timeout, idle_timeout: head_timeout, ..limits() };
    let relay = Relay::start(&[upstream.address], limits);
    for part in ["PRI * HTTP/2.0\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut client = Client { stream: relay.send(part.as_bytes()) };
        assert!(client.ends(), "{part:?}");
    }
    let mut client = Client { stream: relay.send(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n") };
    assert!(client.ends());
    serves(&relay);
}
