//! Inputs that are nearly right. Mutations know what matters here: line ends,
//! separators, and fields that frame or route a message.

use fastrand::Rng;

const METHODS: &[&str] = &[
    "GET", "GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE", "PATCH", "CONNECT", "TRACE", "get", "M-SEARCH",
    "", "G T",
];
const TARGETS: &[&str] = &[
    "/",
    "/a?b=c",
    "/%00%0d%0a",
    "*",
    "http://a/",
    "http://a",
    "http://a?q",
    "HTTP://A:80/x",
    "http://b/",
    "a",
    "//a",
    "/\\",
    "/a b",
    "/#",
    "/\"|{}",
    "https://a/",
    "http://u@a/",
    "/a/../b",
    "",
];
const VERSIONS: &[&str] = &[
    "HTTP/1.1",
    "HTTP/1.1",
    "HTTP/1.1",
    "HTTP/1.0",
    "HTTP/1.2",
    "HTTP/2.0",
    "HTTP/0.9",
    "http/1.1",
    "HTTP/1.1 ",
];
/// Fields that need no other one.
const HARMLESS: &[&str] = &[
    "Accept: */*",
    "X-Empty:",
    "X-Tab:\ta\tb\t",
    "Cookie: a=b; c=d",
    "X-Long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "x-request-id: abc-1",
    "x-request-id: a b",
    "x-worker-id: 9",
    "Keep-Alive: timeout=5",
    "TE: trailers",
    "Trailer: x",
    "Proxy: p",
    "Proxy-Connection: keep-alive",
    "X-Forwarded-For: 1.1.1.1",
    "X_Forwarded_For: 1.1.1.1",
    "Forwarded: for=x",
    "X-Forwarded-Proto: https",
    "X-Real-IP: 9.9.9.9",
    "Content_Length: 7",
    "Transfer_Encoding: chunked",
    "Upgrade: websocket",
    "Connection: close",
    "Connection: keep-alive",
    "Connection: upgrade",
    "Connection: x-empty, cookie",
    "Connection: ,,",
    "Connection: host, content-length",
    "Expect: 100-continue",
    "Set-Cookie: a",
    "X-High: \u{e9}",
    "Date: now",
];
/// Fields that decide what the message is.
const DECISIVE: &[&str] = &[
    "Content-Length: 5",
    "Content-Length: 0",
    "Content-Length: 5, 5",
    "Content-Length: +5",
    "Content-Length: 0x5",
    "Content-Length: 99999999999999999999",
    "Content-Length : 5",
    "Content-Length:5",
    "content-length: 005",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: Chunked",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding:\tchunked",
    "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding : chunked",
    "Transfer-Encoding: \"chunked\"",
    "Host: a",
    "Host: b",
    "Host:",
    "Host: a, b",
    "Host: a@b",
    "Expect: other",
    "Upgrade: h2c",
    " folded: x",
    "No-Colon",
    ": nameless",
    "Bad Name: x",
];
const PIECES: &[&[u8]] = &[
    b"\r",
    b"\n",
    b"\r\n",
    b"\r\n\r\n",
    b"\0",
    b" ",
    b"\t",
    b":",
    b",",
    b";",
    b"\x7f",
    b"\x0b",
    b"\xff",
    b"0",
    b"GET / HTTP/1.1\r\n",
    b"\r\n ",
    b"\r\r\n",
    b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Host: a\r\n",
    b"Connection: ",
    b"chunked",
];

fn pick<'a, T: ?Sized>(from: &[&'a T], rng: &mut Rng) -> &'a T {
    from[rng.usize(..from.len())]
}

/// Changes some bytes, in most cases none or one.
fn damage(bytes: &mut Vec<u8>, rng: &mut Rng) {
    for _ in 0..[0, 0, 0, 1, 1, 2, 5][rng.usize(..7)] {
        let at = rng.usize(0..=bytes.len());
        let end = (at + rng.usize(0..12)).min(bytes.len());
        match rng.u8(..6) {
            0 => drop(bytes.splice(at..at, pick(PIECES, rng).iter().copied())),
            1 => drop(bytes.splice(at..end, pick(PIECES, rng).iter().copied())),
            2 => drop(bytes.drain(at..end)),
            3 => {
                let copy = bytes[at..end].to_vec();
                let to = rng.usize(0..=bytes.len());
                drop(bytes.splice(to..to, copy));
            }
            4 if at < bytes.len() => bytes[at] = rng.u8(..),
            _ if at < bytes.len() => bytes[at] ^= 1 << rng.u8(..8),
            _ => {}
        }
    }
}

fn fields(text: &mut Vec<u8>, decisive: usize, rng: &mut Rng) {
    let mut lines: Vec<&str> = (0..rng.usize(0..6)).map(|_| pick(HARMLESS, rng)).collect();
    lines.extend((0..decisive).map(|_| pick(DECISIVE, rng)));
    rng.shuffle(&mut lines);
    if rng.u8(..200) == 0 {
        lines = [lines, vec!["x: y"; rng.usize(80..120)]].concat();
    }
    for line in lines {
        text.extend_from_slice(line.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
}

/// A head, or something like one, and what may follow it.
pub fn request(rng: &mut Rng) -> Vec<u8> {
    let rare = |rng: &mut Rng| rng.u8(..4) == 0;
    let method = if rare(rng) { pick(METHODS, rng) } else { pick(&METHODS[..7], rng) };
    let target = if rare(rng) { pick(TARGETS, rng) } else { pick(&TARGETS[..3], rng) };
    let version = if rare(rng) { pick(VERSIONS, rng) } else { VERSIONS[0] };
    let mut text = format!("{method} {target} {version}\r\n").into_bytes();
    if rng.u8(..16) != 0 {
        text.extend_from_slice(b"Host: a\r\n");
    }
    let decisive = [0, 0, 1, 2][rng.usize(..4)];
    fields(&mut text, decisive, rng);
    if rng.u8(..4) == 0 {
        text.extend_from_slice(pick(&DECISIVE[..12], rng).as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(b"\r\n");
    if rng.bool() {
        text.extend_from_slice(pick(PIECES, rng));
    }
    damage(&mut text, rng);
    text
}

pub fn response(rng: &mut Rng) -> Vec<u8> {
    const LINES: &[&str] = &[
        "HTTP/1.1 200 OK",
        "HTTP/1.1 200 OK",
        "HTTP/1.1 204 No Content",
        "HTTP/1.1 304 Not Modified",
        "HTTP/1.1 101 Switching",
        "HTTP/1.1 100 Continue",
        "HTTP/1.0 200 OK",
        "HTTP/1.1 500",
        "HTTP/1.1 200 ",
        "HTTP/1.1 999 x",
        "HTTP/1.1 099 x",
        "HTTP/1.1 200OK",
        "HTTP/2 200",
        "ICY 200 OK",
        "HTTP/1.1  200 OK",
    ];
    let mut text = format!("{}\r\n", pick(LINES, rng)).into_bytes();
    let decisive = [0, 0, 1, 1, 2][rng.usize(..5)];
    fields(&mut text, decisive, rng);
    text.extend_from_slice(b"\r\n");
    damage(&mut text, rng);
    text
}

/// What may stand behind a chunk's size, or something like it.
pub fn extensions(rng: &mut Rng) -> Vec<u8> {
    const PARTS: &[&str] = &[
        ";", ";", "=", "a", "b1", " ", "\t", "\"", "\"", "\\", "\"q;\"", "\u{e9}", ",", "\u{1}", "\u{7f}",
        "\r",
    ];
    let length = rng.usize(0..9);
    (0..length).flat_map(|_| pick(PARTS, rng).bytes()).collect()
}

/// A chunked body, and bytes behind it.
pub fn chunks(rng: &mut Rng) -> Vec<u8> {
    const EXTENSIONS: &[&str] = &[
        "",
        "",
        "",
        "",
        "",
        ";a",
        ";a=b",
        ";a=\"b;c\"",
        " ;a",
        "\t; a = b ;c",
        " ",
        ";",
        ";a b",
        ";\u{e9}",
        ";a=\"\u{e9}\\\"\"",
    ];
    const TRAILERS: &[&str] =
        &["", "", "", "A: b\r\n", "A: b\r\nC: d\r\n", "x\r\n", " x\r\n", ":\r\n", "A: b\n"];
    let mut text = Vec::new();
    for _ in 0..rng.usize(0..4) {
        let data: Vec<u8> =
            (0..rng.usize(1..40)).map(|_| *pick(PIECES, rng).first().unwrap_or(&b'x')).collect();
        let zeros = "0".repeat([0, 0, 0, 1, 12][rng.usize(..5)]);
        let size = if rng.bool() { format!("{:x}", data.len()) } else { format!("{:X}", data.len()) };
        text.extend_from_slice(format!("{zeros}{size}{}\r\n", pick(EXTENSIONS, rng)).as_bytes());
        text.extend_from_slice(&data);
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(format!("0{}\r\n{}\r\n", pick(EXTENSIONS, rng), pick(TRAILERS, rng)).as_bytes());
    text.extend_from_slice(if rng.bool() { b"GET / HTTP/1.1\r\n" } else { b"" });
    damage(&mut text, rng);
    text
}
