//! A client that writes and reads single frames (RFC 9113, section 4).

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use balancer_proxy::{Http2, ProxyLimits};

use crate::harness::{Relay, TIMEOUT, Upstream};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub const NO_ERROR: u32 = 0;
pub const PROTOCOL_ERROR: u32 = 1;
pub const FLOW_CONTROL_ERROR: u32 = 3;
pub const CANCEL: u32 = 8;
pub const ENHANCE_YOUR_CALM: u32 = 11;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The fields of a request that nothing is wrong with.
pub const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")];
pub const POST: [(&str, &str); 4] =
    [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "a")];

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn ends_stream(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }

    /// The code of RST_STREAM or GOAWAY.
    pub fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }

    /// The status that a response's fields begin with (RFC 7541, appendices A and B).
    pub fn status(&self) -> u16 {
        assert_eq!(self.kind, HEADERS);
        // The size of the table may be told first.
        let mut bytes = self.payload.as_slice();
        while bytes[0] & 0xe0 == 0x20 {
            let more = bytes[0] & 0x1f == 0x1f;
            bytes = &bytes[if more {
                1 + bytes[1..].iter().position(|byte| byte & 0x80 == 0).unwrap() + 1
            } else {
                1
            }..];
        }
        match bytes[0] {
            index @ 0x88..=0x8e => [200, 204, 206, 304, 400, 404, 500][usize::from(index - 0x88)],
            0x48 | 0x08 | 0x18 => status_text(&bytes[1..]).parse().unwrap(),
            // A status that came before, from the dynamic table: the tests ask for none.
            other => panic!("no status: {other:#x}"),
        }
    }
}

/// Three digits, plain or in Huffman's code.
fn status_text(bytes: &[u8]) -> String {
    let (is_plain, length, bytes) = (bytes[0] & 0x80 == 0, usize::from(bytes[0] & 0x7f), &bytes[1..]);
    if is_plain {
        return String::from_utf8(bytes[..length].to_vec()).unwrap();
    }
    let bits =
        bytes[..length].iter().fold(0_u32, |bits, &byte| bits << 8 | u32::from(byte)) << (32 - 8 * length);
    let (mut at, mut text) = (0, String::new());
    while text.len() < 3 {
        let short = (bits << at) >> 27;
        let (digit, size) = if short < 3 { (short, 5) } else { (((bits << at) >> 26) - 0x19 + 3, 6) };
        text.push(char::from_digit(digit, 10).unwrap());
        at += size;
    }
    text
}

/// Literal fields without indexing (RFC 7541, section 6.2.2), in any bytes.
pub fn block<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: &[(N, V)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name.as_ref(), value.as_ref()] {
            integer(&mut block, text.len());
            block.extend_from_slice(text);
        }
    }
    block
}

/// An integer behind a bit that is not set (RFC 7541, section 5.1).
fn integer(out: &mut Vec<u8>, number: usize) {
    if number < 127 {
        return out.push(number as u8);
    }
    out.push(127);
    let mut rest = number - 127;
    while rest >= 128 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

pub fn limits() -> ProxyLimits {
    // Clients here mostly wait for the relay to close.
    let linger_timeout = Duration::from_millis(100);
    ProxyLimits { http2: Http2::On, linger_timeout, ..ProxyLimits::default() }
}

/// A relay that takes HTTP/2, in front of `upstream`.
pub fn relay(upstream: &Upstream) -> Relay {
    Relay::start(&[upstream.address], limits())
}

pub struct Client<S = TcpStream> {
    pub stream: S,
}

impl Client {
    /// Connects, and exchanges settings.
    pub fn new(relay: &Relay) -> Self {
        Self::with_settings(relay, &[])
    }

    pub fn with_settings(relay: &Relay, settings: &[(u16, u32)]) -> Self {
        let mut client = Self { stream: relay.send(PREFACE) };
        client.stream.set_nodelay(true).unwrap();
        let mut payload = Vec::new();
        for (id, value) in settings {
            payload.extend_from_slice(&id.to_be_bytes());
            payload.extend_from_slice(&value.to_be_bytes());
        }
        client.send(SETTINGS, 0, 0, &payload);
        client.acknowledge();
        client
    }

    /// Has the relay ended the connection, or does it within the time of a test?
    pub fn ends(&mut self) -> bool {
        self.stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        while self.read().is_some() {}
        true
    }
}

impl<S: Read + Write> Client<S> {
    /// Connects on `stream`, and exchanges settings.
    pub fn on(stream: S) -> Self {
        let mut client = Self { stream };
        client.stream.write_all(PREFACE).unwrap();
        client.send(SETTINGS, 0, 0, &[]);
        client.acknowledge();
        client
    }

    /// Takes the relay's settings.
    fn acknowledge(&mut self) {
        assert_eq!(self.read().unwrap().kind, SETTINGS);
        self.send(SETTINGS, ACK, 0, &[]);
    }

    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.stream.write_all(&frame(kind, flags, stream, payload)).unwrap();
    }

    /// As [`Self::send`], where the relay may have closed the connection. Says whether it
    /// has not.
    pub fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    pub fn headers<N: AsRef<[u8]>, V: AsRef<[u8]>>(&mut self, stream: u32, flags: u8, fields: &[(N, V)]) {
        self.send(HEADERS, flags | END_HEADERS, stream, &block(fields));
    }

    pub fn get(&mut self, stream: u32) {
        self.headers(stream, END_STREAM, &GET);
    }

    pub fn reset(&mut self, stream: u32) {
        self.send(RST_STREAM, 0, stream, &CANCEL.to_be_bytes());
    }

    /// The next frame; `None` at the end of the connection.
    pub fn read(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        if let Err(err) = self.stream.read_exact(&mut head) {
            assert!(matches!(err.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset), "{err}");
            return None;
        }
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        self.stream.read_exact(&mut payload).ok()?;
        let stream = u32::from_be_bytes(head[5..].try_into().unwrap());
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// The next frame that is neither of settings nor of flow control.
    pub fn next(&mut self) -> Option<Frame> {
        loop {
            let frame = self.read()?;
            if !matches!(frame.kind, SETTINGS | WINDOW_UPDATE) {
                return Some(frame);
            }
        }
    }

    /// The next frame of `stream`, or about the connection.
    pub fn next_of(&mut self, stream: u32) -> Option<Frame> {
        loop {
            let frame = self.next()?;
            if frame.stream == stream || frame.kind == GOAWAY {
                return Some(frame);
            }
        }
    }

    /// Status and body of the response on `stream`.
    pub fn response(&mut self, stream: u32) -> (u16, Vec<u8>) {
        let mut frame = self.next_of(stream).expect("a response");
        assert_eq!(frame.kind, HEADERS, "{frame:?}");
        let (status, mut body) = (frame.status(), Vec::new());
        while !frame.ends_stream() {
            frame = self.next_of(stream).expect("the whole response");
            assert_eq!(frame.kind, DATA, "{frame:?}");
            body.extend_from_slice(&frame.payload);
        }
        (status, body)
    }

    /// Reads until GOAWAY, and returns its code; `None` if the connection ends without.
    pub fn goaway(&mut self) -> Option<u32> {
        loop {
            let frame = self.next()?;
            if frame.kind == GOAWAY {
                return Some(frame.code());
            }
        }
    }

    /// Waits until all frames before have been read: a ping comes back behind them.
    pub fn settle(&mut self) {
        self.send(PING, 0, 0, b"settled!");
        while self.next().expect("the ping's answer").kind != PING {}
    }
}
