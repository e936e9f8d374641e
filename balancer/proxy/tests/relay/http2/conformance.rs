//! What RFC 9113 and RFC 7541 demand of a server, case by case in their order, with the codes
//! of the errors. What is bounded beyond that is in `floods`, what is about requests in
//! `downgrade`.

use super::client::{
    ACK, CONTINUATION, Client, DATA, END_HEADERS, END_STREAM, FLOW_CONTROL_ERROR, Frame, GET, GOAWAY,
    HEADERS, PING, POST, PRIORITY, PROTOCOL_ERROR, RST_STREAM, SETTINGS, WINDOW_UPDATE, block, frame, relay,
};
use crate::harness::Upstream;

/// RFC 9113, section 7.
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const COMPRESSION_ERROR: u32 = 9;

const WHOLE: u8 = END_STREAM | END_HEADERS;

fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, WHOLE, stream, &block(&GET))
}

/// A request whose body is still to come.
fn post(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &block(&POST))
}

fn setting(id: u8, value: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[&[0, id], value.to_be_bytes().as_slice()].concat())
}

/// What comes in answer to `bytes`, in front of a program that answers nothing: the first reset
/// or GOAWAY.
fn error(bytes: &[u8]) -> Option<Frame> {
    let upstream = Upstream::with(|_, _| {});
    let relay = relay(&upstream);
    let mut client = Client::new(&relay);
    let _ = client.try_send(bytes);
    std::iter::from_fn(|| client.next()).find(|frame| matches!(frame.kind, RST_STREAM | GOAWAY))
}

#[test]
fn errors_of_the_connection_have_their_code() {
    let open = |rest: Vec<u8>| [post(1), rest].concat();
    for (section, what, bytes, code) in [
        ("4.2", "HEADERS that are too long", frame(HEADERS, WHOLE, 1, &[0; 16_385]), FRAME_SIZE_ERROR),
        ("4.2", "DATA that are too long", open(frame(DATA, 0, 1, &[0; 16_385])), FRAME_SIZE_ERROR),
        ("4.3", "a block that does not decode", frame(HEADERS, WHOLE, 1, &[0xff; 9]), COMPRESSION_ERROR),
        ("5.1", "DATA on an idle stream", frame(DATA, 0, 1, b"x"), PROTOCOL_ERROR),
        ("5.1", "RST_STREAM on an idle stream", frame(RST_STREAM, 0, 1, &[0; 4]), PROTOCOL_ERROR),
        ("5.1", "WINDOW_UPDATE on an idle stream", frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]), PROTOCOL_ERROR),
        ("5.1", "CONTINUATION on an idle stream", frame(CONTINUATION, 4, 1, b""), PROTOCOL_ERROR),
        ("5.1.1", "an even stream", get(2), PROTOCOL_ERROR),
        ("5.1.1", "a smaller stream", [get(5), get(3)].concat(), PROTOCOL_ERROR),
        ("6.1", "DATA on stream 0", frame(DATA, 0, 0, b"x"), PROTOCOL_ERROR),
        ("6.1", "padding as long as DATA", open(frame(DATA, 8, 1, &[3, 0, 0])), PROTOCOL_ERROR),
        ("6.2", "HEADERS on stream 0", frame(HEADERS, WHOLE, 0, &block(&GET)), PROTOCOL_ERROR),
        (
            "6.2",
            "PRIORITY within a block",
            [frame(HEADERS, 1, 1, b""), frame(PRIORITY, 0, 1, &[0; 5])].concat(),
            PROTOCOL_ERROR,
        ),
        ("6.2", "other HEADERS within a block", [frame(HEADERS, 1, 1, b""), get(3)].concat(), PROTOCOL_ERROR),
        ("6.2", "padding as long as HEADERS", frame(HEADERS, WHOLE | 8, 1, &[200, 0]), PROTOCOL_ERROR),
        ("6.3", "PRIORITY on stream 0", frame(PRIORITY, 0, 0, &[0; 5]), PROTOCOL_ERROR),
        ("6.4", "RST_STREAM on stream 0", frame(RST_STREAM, 0, 0, &[0; 4]), PROTOCOL_ERROR),
        ("6.4", "RST_STREAM of 3 bytes", open(frame(RST_STREAM, 0, 1, &[0; 3])), FRAME_SIZE_ERROR),
        ("6.5", "an acknowledgement that is not empty", frame(SETTINGS, ACK, 0, &[0; 6]), FRAME_SIZE_ERROR),
        ("6.5", "SETTINGS on a stream", frame(SETTINGS, 0, 1, &[0; 6]), PROTOCOL_ERROR),
        ("6.5", "SETTINGS of 5 bytes", frame(SETTINGS, 0, 0, &[0; 5]), FRAME_SIZE_ERROR),
        ("6.5.2", "ENABLE_PUSH of 2", setting(2, 2), PROTOCOL_ERROR),
        ("6.5.2", "a window above its bound", setting(4, 1 << 31), FLOW_CONTROL_ERROR),
        ("6.5.2", "a frame size below its bound", setting(5, 16_383), PROTOCOL_ERROR),
        ("6.5.2", "a frame size above its bound", setting(5, 1 << 24), PROTOCOL_ERROR),
        ("6.7", "PING on a stream", frame(PING, 0, 1, &[0; 8]), PROTOCOL_ERROR),
        ("6.7", "PING of 6 bytes", frame(PING, 0, 0, &[0; 6]), FRAME_SIZE_ERROR),
        ("6.8", "GOAWAY on a stream", frame(GOAWAY, 0, 1, &[0; 8]), PROTOCOL_ERROR),
        ("6.9", "WINDOW_UPDATE of 0 on stream 0", frame(WINDOW_UPDATE, 0, 0, &[0; 4]), PROTOCOL_ERROR),
        ("6.9", "WINDOW_UPDATE of 3 bytes", frame(WINDOW_UPDATE, 0, 0, &[0; 3]), FRAME_SIZE_ERROR),
        (
            "6.9.1",
            "a window that overflows",
            frame(WINDOW_UPDATE, 0, 0, &[0x7f, 255, 255, 255]),
            FLOW_CONTROL_ERROR,
        ),
        (
            "6.10",
            "CONTINUATION on stream 0",
            [frame(HEADERS, 1, 1, b""), frame(CONTINUATION, 4, 0, b"")].concat(),
            PROTOCOL_ERROR,
        ),
        (
            "6.10",
            "CONTINUATION behind the end",
            [post(1), frame(CONTINUATION, 4, 1, b"")].concat(),
            PROTOCOL_ERROR,
        ),
        (
            "6.10",
            "CONTINUATION behind DATA",
            open([frame(DATA, 0, 1, b"x"), frame(CONTINUATION, 4, 1, b"")].concat()),
            PROTOCOL_ERROR,
        ),
        ("8.4", "PUSH_PROMISE", frame(5, 4, 1, &[0, 0, 0, 2]), PROTOCOL_ERROR),
        ("7541, 2.3.3", "an index of nothing", frame(HEADERS, WHOLE, 1, &[0x80 | 70]), COMPRESSION_ERROR),
        (
            "7541, 4.2",
            "a size of the table behind a field",
            frame(HEADERS, WHOLE, 1, &[block(&GET), vec![0x21]].concat()),
            COMPRESSION_ERROR,
        ),
        (
            "7541, 5.2",
            "padding of more than 7 bits",
            frame(HEADERS, WHOLE, 1, &[&[0, 0x82, 0x1f, 0xff][..], &[0]].concat()),
            COMPRESSION_ERROR,
        ),
        (
            "7541, 5.2",
            "the end of string",
            frame(HEADERS, WHOLE, 1, &[0, 0x84, 255, 255, 255, 255, 0]),
            COMPRESSION_ERROR,
        ),
        ("7541, 6.1", "index 0", frame(HEADERS, WHOLE, 1, &[0x80]), COMPRESSION_ERROR),
        (
            "7541, 6.3",
            "a table above its bound",
            frame(HEADERS, WHOLE, 1, &[0x3f, 0xe2, 0x1f]),
            COMPRESSION_ERROR,
        ),
    ] {
        let error = error(&bytes).unwrap_or_else(|| panic!("{section}: {what}: nothing"));
        assert_eq!((error.kind, error.code()), (GOAWAY, code), "{section}: {what}: {error:?}");
    }
}

/// Where the RFC has an error of the stream, a server may end the connection as well (section
/// 5.4.2).
#[test]
fn errors_of_a_stream_have_their_code() {
    let reset = || frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes());
    let twice = frame(HEADERS, END_HEADERS, 1, &block(&[("x-a", "1")]));
    for (section, what, bytes, code) in [
        ("5.1", "DATA behind the end", [get(1), frame(DATA, 0, 1, b"x")].concat(), STREAM_CLOSED),
        ("5.1", "HEADERS behind the end", [get(1), get(1)].concat(), STREAM_CLOSED),
        ("6.3", "PRIORITY of 4 bytes", open_with(frame(PRIORITY, 0, 1, &[0; 4])), FRAME_SIZE_ERROR),
        ("6.9", "WINDOW_UPDATE of 0", open_with(frame(WINDOW_UPDATE, 0, 1, &[0; 4])), PROTOCOL_ERROR),
        (
            "6.9.1",
            "a window that overflows",
            open_with(frame(WINDOW_UPDATE, 0, 1, &[0x7f, 255, 255, 255])),
            FLOW_CONTROL_ERROR,
        ),
        ("8.1", "HEADERS that do not end it", [post(1), twice].concat(), PROTOCOL_ERROR),
        ("8.1.1", "a body that is too short", short(), PROTOCOL_ERROR),
        (
            "8.2",
            "an upper-case name",
            frame(HEADERS, WHOLE, 1, &block(&[&GET[..], &[("X", "1")]].concat())),
            PROTOCOL_ERROR,
        ),
        (
            "8.2.2",
            "a field of the connection",
            frame(HEADERS, WHOLE, 1, &block(&[&GET[..], &[("connection", "a")]].concat())),
            PROTOCOL_ERROR,
        ),
        (
            "8.3",
            "an unknown pseudo-header",
            frame(HEADERS, WHOLE, 1, &block(&[&GET[..], &[(":x", "1")]].concat())),
            PROTOCOL_ERROR,
        ),
        (
            "8.3",
            "a pseudo-header in trailers",
            [post(1), frame(HEADERS, WHOLE, 1, &block(&[(":path", "/")]))].concat(),
            PROTOCOL_ERROR,
        ),
        ("8.3.1", "no method", frame(HEADERS, WHOLE, 1, &block(&GET[1..])), PROTOCOL_ERROR),
    ] {
        let error = error(&bytes).unwrap_or_else(|| panic!("{section}: {what}: nothing"));
        assert_eq!(error.code(), code, "{section}: {what}: {error:?}");
    }
    // A stream that the client has reset itself may get no answer, as frames cross (section 5.1).
    for late in [frame(DATA, END_STREAM, 1, b"x"), frame(HEADERS, WHOLE, 1, &block(&[("x-a", "1")]))] {
        let upstream = Upstream::start();
        let relay = relay(&upstream);
        let mut client = Client::new(&relay);
        let _ = client.try_send(&[post(1), reset(), late, get(3)].concat());
        let answer =
            std::iter::from_fn(|| client.next()).find(|frame| frame.stream != 1 || frame.kind == GOAWAY);
        let answer = answer.expect("the other request, or the end of the connection");
        assert!(answer.kind == HEADERS || answer.code() == STREAM_CLOSED, "{answer:?}");
        assert!(upstream.take().iter().all(|seen| seen.head.starts_with("GET")), "nothing is made of it");
    }
}

fn open_with(rest: Vec<u8>) -> Vec<u8> {
    [post(1), rest].concat()
}

fn short() -> Vec<u8> {
    let head = block(&[&POST[..], &[("content-length", "3")]].concat());
    [frame(HEADERS, END_HEADERS, 1, &head), frame(DATA, END_STREAM, 1, b"ab")].concat()
}

/// What a server must ignore, or must take as it is.
#[test]
fn what_must_be_ignored_is_ignored() {
    let mut reserved = get(1);
    reserved[5] |= 0x80;
    let mut empty_setting = frame(SETTINGS, 0, 0, b"");
    empty_setting[4] = 0x80;
    for (section, what, bytes) in [
        ("4.1", "the reserved bit of a stream", reserved),
        ("4.1", "unknown flags", [frame(PING, 0x16 & !ACK, 0, &[0; 8]), empty_setting, get(1)].concat()),
        (
            "4.1",
            "an unknown kind of frame",
            [frame(0xf0, 0xff, 0, &[1; 99]), frame(0xf0, 0, 1, b""), get(1)].concat(),
        ),
        ("5.3.2", "PRIORITY on an idle stream", [frame(PRIORITY, 0, 7, &[0, 0, 0, 1, 9]), get(1)].concat()),
        ("6.5.2", "an unknown setting", [setting(0xfe, 77), get(1)].concat()),
        (
            "6.5.3",
            "a setting twice",
            [frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0]), get(1)].concat(),
        ),
        ("6.7", "an answer to no PING", [frame(PING, ACK, 0, &[9; 8]), get(1)].concat()),
        (
            "6.9",
            "the reserved bit of an increment",
            [frame(WINDOW_UPDATE, 0, 0, &[0x80, 0, 0, 1]), get(1)].concat(),
        ),
        ("6.10", "a block in many pieces", {
            let block = block(&GET);
            let pieces: Vec<_> = block.chunks(3).map(|piece| frame(CONTINUATION, 0, 1, piece)).collect();
            [frame(HEADERS, END_STREAM, 1, b""), pieces.concat(), frame(CONTINUATION, END_HEADERS, 1, b"")]
                .concat()
        }),
        ("7", "an unknown code of RST_STREAM", [post(1), frame(RST_STREAM, 0, 1, &[9; 4]), get(3)].concat()),
        (
            "7541, 6.3",
            "a smaller table",
            frame(HEADERS, WHOLE, 1, &[&[0x20, 0x3f, 0x80, 0x1f][..], &block(&GET)].concat()),
        ),
    ] {
        let upstream = Upstream::start();
        let relay = relay(&upstream);
        let mut client = Client::new(&relay);
        let _ = client.try_send(&bytes);
        let head = std::iter::from_fn(|| client.next())
            .find(|frame| matches!(frame.kind, HEADERS | GOAWAY | RST_STREAM));
        assert!(
            head.as_ref().is_some_and(|head| head.kind == HEADERS && head.status() == 200),
            "{section}: {what}: {head:?}"
        );
    }
}

/// Settings and pings are answered (sections 6.5.3 and 6.7).
#[test]
fn settings_and_pings_are_answered() {
    let upstream = Upstream::start();
    let relay = relay(&upstream);
    let mut client = Client::new(&relay);
    client.send(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 9]);
    client.send(PING, 0, 0, b"12345678");
    let (mut acks, mut pong) = (0, None);
    while pong.is_none() {
        let frame = client.read().expect("both answers");
        acks += u32::from(frame.kind == SETTINGS && frame.flags == ACK && frame.payload.is_empty());
        pong = (frame.kind == PING).then_some(frame);
    }
    // One for the settings that a connection begins with.
    assert_eq!((acks, pong.map(|pong| (pong.flags, pong.payload))), (2, Some((ACK, b"12345678".to_vec()))));
}

/// A smaller first window counts for streams that are open, and may become negative (section
/// 6.9.2).
#[test]
fn the_first_window_may_change_under_open_streams() {
    let upstream = Upstream::start();
    let relay = relay(&upstream);
    let mut client = Client::with_settings(&relay, &[(4, 1)]);
    client.get(1);
    assert_eq!(client.next_of(1).unwrap().kind, HEADERS);
    assert_eq!(client.next_of(1).unwrap().payload, b"o");
    let _ = client.try_send(&setting(4, 0));
    client.settle();
    // From -1 to 0: nothing may come yet.
    client.send(WINDOW_UPDATE, 0, 1, &1_u32.to_be_bytes());
    client.send(PING, 0, 0, b"nothing!");
    assert_eq!(client.next().unwrap().kind, PING);
    let _ = client.try_send(&setting(4, 5));
    let last = client.next_of(1).unwrap();
    assert_eq!((last.kind, last.payload.as_slice(), last.ends_stream()), (DATA, b"k".as_slice(), true));
}

/// A client that goes away is served to the end (section 6.8).
#[test]
fn what_was_asked_before_a_clients_goaway_is_answered() {
    let upstream = Upstream::start();
    let relay = relay(&upstream);
    let mut client = Client::new(&relay);
    let goaway = frame(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0xff, 0xff]);
    let _ = client.try_send(&[get(1), goaway].concat());
    assert_eq!(client.response(1), (200, b"ok".to_vec()));
    assert!(client.ends());
}
