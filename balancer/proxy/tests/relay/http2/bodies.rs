//! Long bodies, which flow control holds back, and many requests at once.

use std::io::Write;

use super::client::{Client, DATA, END_STREAM, GET, POST, WINDOW_UPDATE, limits, relay};
use crate::harness::{Relay, Upstream};

/// Bytes that are no window's multiple.
const LONG: usize = 3_000_001;

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index % 251) as u8).collect()
}

#[test]
fn a_long_upload_goes_as_the_windows_allow() {
    let upstream = Upstream::start();
    let relay = relay(&upstream);
    for length in [Some(LONG.to_string()), None] {
        let mut client = Client::new(&relay);
        let length: Vec<_> = length.iter().map(|length| ("content-length", length.as_str())).collect();
        client.headers(1, 0, &[&POST[..], &length].concat());
        // The windows of the connection and of the stream, as the relay's settings have them.
        let (mut connection, mut stream) = (1_i64 << 20, 128_i64 << 10);
        let body = pattern(LONG);
        let mut rest = body.as_slice();
        while !rest.is_empty() {
            let count = rest.len().min(16_384).min(usize::try_from(connection.min(stream)).unwrap());
            if count == 0 {
                let frame = client.read().expect("more room");
                if frame.kind == WINDOW_UPDATE {
                    let increment = i64::from(frame.code());
                    *(if frame.stream == 0 { &mut connection } else { &mut stream }) += increment;
                }
                continue;
            }
            let (part, left) = rest.split_at(count);
            client.send(DATA, if left.is_empty() { END_STREAM } else { 0 }, 1, part);
            (connection, stream) = (connection - count as i64, stream - count as i64);
            rest = left;
        }
        assert_eq!(client.response(1).0, 200);
        let seen = upstream.take();
        if seen[0].head.contains("content-length") {
            assert!(seen[0].body == body, "the same bytes");
        } else {
            assert!(seen[0].body.len() > LONG);
        }
    }
}

#[test]
fn long_downloads_come_whole_beside_each_other() {
    for (buffer_responses, is_chunked) in [(0, false), (0, true), (32 << 20, false), (32 << 20, true)] {
        let upstream = Upstream::with(move |stream, _| {
            let body = pattern(LONG);
            let head = if is_chunked {
                format!("transfer-encoding: chunked\r\n\r\n{LONG:x}\r\n")
            } else {
                format!("content-length: {LONG}\r\n\r\n")
            };
            let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\n{head}").as_bytes());
            let _ = stream.write_all(&body);
            if is_chunked {
                let _ = stream.write_all(b"\r\n0\r\n\r\n");
            }
        });
        let limits = balancer_proxy::ProxyLimits { buffer_responses, ..limits() };
        let relay = Relay::start(&[upstream.address], limits);
        let mut client = Client::new(&relay);
        let streams = [1, 3, 5];
        for stream in streams {
            client.headers(stream, END_STREAM, &GET);
        }
        let (mut bodies, mut open) = ([const { Vec::new() }; 3], 3);
        while open > 0 {
            let frame = client.next().expect("the responses");
            open -= u32::from(frame.ends_stream());
            if frame.kind == DATA && !frame.payload.is_empty() {
                bodies[frame.stream as usize / 2].extend_from_slice(&frame.payload);
                for stream in [0, frame.stream] {
                    let _ = client.try_send(&super::client::frame(
                        WINDOW_UPDATE,
                        0,
                        stream,
                        &(frame.payload.len() as u32).to_be_bytes(),
                    ));
                }
            }
        }
        assert!(bodies.iter().all(|body| *body == pattern(LONG)), "{buffer_responses} {is_chunked}");
    }
}

#[test]
fn many_requests_at_once_are_answered_each_with_its_own() {
    let upstream = Upstream::with(|stream, seen| {
        let path = seen.head.split(' ').nth(1).unwrap();
        let _ = stream
            .write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{path}", path.len()).as_bytes());
    });
    let relay = relay(&upstream);
    let mut client = Client::new(&relay);
    for round in 0..20 {
        let streams: Vec<u32> = (0..100).map(|index| 2 * (round * 100 + index) + 1).collect();
        for stream in &streams {
            let mut fields = GET;
            let path = format!("/{stream}");
            fields[2].1 = &path;
            client.headers(*stream, END_STREAM, &fields);
        }
        let mut open = streams.len();
        while open > 0 {
            let frame = client.next().expect("the responses");
            if frame.kind == DATA {
                assert_eq!(frame.payload, format!("/{}", frame.stream).as_bytes());
                open -= 1;
            }
        }
        // What has been taken of the connection's window.
        let _ = client.try_send(&super::client::frame(WINDOW_UPDATE, 0, 0, &10_000_u32.to_be_bytes()));
    }
}
