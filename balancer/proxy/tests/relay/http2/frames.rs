//! Frames of every kind where they must not stand: an error of the stream or of the
//! connection, as RFC 9113 has it, and never a request.

use super::client::{
    ACK, CONTINUATION, Client, DATA, END_HEADERS, END_STREAM, GET, GOAWAY, HEADERS, PING, POST, PRIORITY,
    PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE, block, frame, relay,
};
use crate::harness::Upstream;

#[test]
fn frames_where_they_must_not_stand_end_the_connection() {
    let headers = |flags, stream| frame(HEADERS, flags, stream, &block(&GET));
    let whole = END_STREAM | END_HEADERS;
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("DATA on stream 0", frame(DATA, 0, 0, b"x")),
        ("DATA on an idle stream", frame(DATA, 0, 1, b"x")),
        ("HEADERS on stream 0", headers(whole, 0)),
        ("HEADERS on an even stream", headers(whole, 2)),
        ("HEADERS on a smaller stream", [headers(whole, 5), headers(whole, 3)].concat()),
        ("HEADERS within a header block", [headers(END_STREAM, 1), headers(whole, 3)].concat()),
        ("DATA within a header block", [headers(END_STREAM, 1), frame(DATA, 0, 1, b"x")].concat()),
        ("PING within a header block", [headers(END_STREAM, 1), frame(PING, 0, 0, &[0; 8])].concat()),
        ("an unknown frame within a header block", [headers(END_STREAM, 1), frame(0xfa, 0, 0, b"")].concat()),
        (
            "CONTINUATION of another stream",
            [headers(END_STREAM, 1), frame(CONTINUATION, END_HEADERS, 3, b"")].concat(),
        ),
        ("CONTINUATION without HEADERS", frame(CONTINUATION, END_HEADERS, 1, &block(&GET))),
        (
            "HEADERS with padding that is too long",
            frame(HEADERS, whole | 8, 1, &[[200].as_slice(), &block(&GET)].concat()),
        ),
        (
            "DATA with padding that is too long",
            [headers(END_HEADERS, 1), frame(DATA, 8, 1, &[9, 1])].concat(),
        ),
        ("PRIORITY on stream 0", frame(PRIORITY, 0, 0, &[0; 5])),
        ("RST_STREAM on stream 0", frame(RST_STREAM, 0, 0, &[0; 4])),
        ("RST_STREAM on an idle stream", frame(RST_STREAM, 0, 1, &[0; 4])),
        ("RST_STREAM of a wrong size", [headers(END_HEADERS, 1), frame(RST_STREAM, 0, 1, &[0; 3])].concat()),
        ("SETTINGS on a stream", frame(SETTINGS, 0, 1, b"")),
        ("SETTINGS of a wrong size", frame(SETTINGS, 0, 0, &[0; 5])),
        ("an acknowledgement with settings", frame(SETTINGS, ACK, 0, &[0; 6])),
        ("a wrong ENABLE_PUSH", frame(SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 2])),
        ("a window that is too large", frame(SETTINGS, 0, 0, &[0, 4, 0x80, 0, 0, 0])),
        ("a frame size that is too small", frame(SETTINGS, 0, 0, &[0, 5, 0, 0, 0x3f, 0xff])),
        (
            "PUSH_PROMISE of a client",
            frame(PUSH_PROMISE, END_HEADERS, 1, &[[0, 0, 0, 2].as_slice(), &block(&GET)].concat()),
        ),
        ("PING on a stream", frame(PING, 0, 1, &[0; 8])),
        ("PING of a wrong size", frame(PING, 0, 0, &[0; 7])),
        ("GOAWAY on a stream", frame(GOAWAY, 0, 1, &[0; 8])),
        ("WINDOW_UPDATE of 0", frame(WINDOW_UPDATE, 0, 0, &[0; 4])),
        ("WINDOW_UPDATE of a wrong size", frame(WINDOW_UPDATE, 0, 0, &[0; 3])),
        ("WINDOW_UPDATE on an idle stream", frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])),
        ("a frame that is too long", frame(DATA, 0, 1, &[0; 16_385])),
        ("a block that does not decode", frame(HEADERS, whole, 1, &[0xff; 20])),
        ("an index that is not in the table", frame(HEADERS, whole, 1, &[0x80 | 70])),
        ("index 0", frame(HEADERS, whole, 1, &[0x80])),
        (
            "a table that is too large",
            frame(HEADERS, whole, 1, &[&[0x3f, 0xe1, 0xff, 0x03][..], &block(&GET)].concat()),
        ),
        ("Huffman's end of string", frame(HEADERS, whole, 1, &[0, 0x84, 0xff, 0xff, 0xff, 0xff, 1, b'a'])),
    ];
    for (what, bytes) in cases {
        let upstream = Upstream::with(|_, _| {});
        let relay = relay(&upstream);
        let mut client = Client::new(&relay);
        let _ = client.try_send(&bytes);
        let code = client.goaway();
        assert!(code.is_some_and(|code| code != 0), "{what}: {code:?}");
        let seen = upstream.take();
        assert!(seen.len() <= 1 && !seen.iter().any(|seen| seen.head.contains("/evil")), "{what}: {seen:?}");
    }
}

#[test]
fn frames_on_a_stream_that_has_ended_are_errors_of_it() {
    for (what, bytes) in [
        ("DATA behind the end", frame(DATA, 0, 1, b"GET /evil HTTP/1.1\r\n\r\n")),
        ("HEADERS behind the end", frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(&GET))),
    ] {
        let upstream = Upstream::with(|_, _| {});
        let relay = relay(&upstream);
        let mut client = Client::new(&relay);
        client.get(1);
        let _ = client.try_send(&bytes);
        let frame = client.next().expect(what);
        assert!(matches!(frame.kind, RST_STREAM | GOAWAY), "{what}: {frame:?}");
        assert!(upstream.take().len() <= 1, "{what}");
    }
}

#[test]
fn what_is_allowed_or_unknown_is_passed_over() {
    let upstream = Upstream::start();
    let relay = relay(&upstream);
    let mut client = Client::new(&relay);
    client.send(0xfa, 0xff, 0, b"unknown");
    client.send(PRIORITY, 0, 1, &[0, 0, 0, 3, 9]);
    client.send(SETTINGS, 0, 0, &[0xff, 0xff, 0, 0, 0, 1]);
    // With padding and a priority.
    let payload = [&[3][..], &[0, 0, 0, 0, 9], &block(&POST), &[0; 3]].concat();
    client.send(HEADERS, END_HEADERS | 8 | 0x20, 1, &payload);
    client.send(0xfa, 0xff, 1, b"unknown");
    client.send(DATA, 8, 1, &[2, b'a', b'b', 0, 0]);
    client.send(DATA, END_STREAM | 8, 1, &[2, 0, 0]);
    assert_eq!(client.response(1).0, 200);
    assert_eq!(upstream.take()[0].body, b"2\r\nab\r\n0\r\n\r\n");
    // Frames for a stream that is over may have been on their way.
    client.send(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 9]);
    client.reset(1);
    client.send(PRIORITY, 0, 1, &[0, 0, 0, 3, 9]);
    client.settle();
    client.get(3);
    assert_eq!(client.response(3).0, 200);
}
