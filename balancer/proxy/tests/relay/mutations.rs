//! Damaged requests over real connections, one behind the other and cut anywhere:
//! what reaches a worker must be what a second parser (`httparse`) reads in the same
//! bytes, from the first request on and without a gap. `FUZZ_SECONDS=600` goes on
//! with new inputs for that long.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use balancer_proxy::ProxyLimits;
use fastrand::Rng;
use httparse::Status;

use crate::harness::{Relay, Seen, Upstream};
use shared_testkit::http_inputs;
use shared_testkit::oracle::unchunk;

const CONNECTIONS: u64 = 300;
/// Whatever comes before, this is not to be reached by mistake.
const LAST: &[u8] = b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

#[derive(Debug, PartialEq)]
struct Plain {
    method: String,
    path: String,
    body: Vec<u8>,
}

#[test]
fn workers_see_what_a_second_parser_reads() {
    let seconds: Option<u64> = std::env::var("FUZZ_SECONDS").ok().map(|seconds| seconds.parse().unwrap());
    let end = Instant::now() + Duration::from_secs(seconds.unwrap_or(0));
    let first = if seconds.is_some() { fastrand::u64(..) } else { 0 };
    let upstream = Upstream::start();
    let relays = [0, 1, 7, 256 << 10].map(|buffer_requests| {
        let limits = ProxyLimits { half_close: true, buffer_requests, ..ProxyLimits::default() };
        Relay::start(&[upstream.address], limits)
    });
    let (mut tried, mut reached) = (0, 0);
    while tried < CONNECTIONS || Instant::now() < end {
        let mut rng = Rng::with_seed(first.wrapping_add(tried));
        let input = input(&mut rng);
        let relay = &relays[rng.usize(..relays.len())];
        let mut client = relay.send(b"");
        let cut = rng.usize(0..=input.len());
        for part in [&input[..cut], &input[cut..]] {
            // It may have refused what came before, and be gone.
            let _ = client.write_all(part);
        }
        let _ = client.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        // It may end with a reset where it had not to wait for the rest.
        if let Err(err) = client.read_to_end(&mut answer) {
            assert_eq!(err.kind(), ErrorKind::ConnectionReset, "input: {}", input.escape_ascii());
        }
        let answer = String::from_utf8_lossy(&answer);
        let seen: Vec<Plain> = upstream.take().into_iter().map(plain).collect();
        let expected = reference(&input);
        assert!(
            expected.len() >= seen.len() && expected[..seen.len()] == seen,
            "input: {}\nseen: {seen:?}\nexpected: {expected:?}\nanswer: {answer}",
            input.escape_ascii()
        );
        reached += seen.len();
        tried += 1;
    }
    println!("{tried} connections, {reached} requests reached the program");
    assert!(reached as u64 > tried / 4, "{reached} of {tried}");
}

/// Some requests, of which at least one may be damaged.
fn input(rng: &mut Rng) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..rng.usize(0..3) {
        bytes.extend_from_slice(match rng.u8(..3) {
            0 => b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n".as_slice(),
            1 => b"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
            _ => b"PUT /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\nT: u\r\n\r\n",
        });
    }
    if rng.bool() {
        bytes.extend(http_inputs::request(rng));
        bytes.extend_from_slice(b"hello");
    } else {
        bytes.extend_from_slice(b"POST /d HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        bytes.extend(http_inputs::chunks(rng));
    }
    bytes.extend_from_slice(LAST);
    // Minor versions that it does not know stop the second parser, rightly.
    let newer = |w: &[u8]| w.starts_with(b"HTTP/1.") && w[7].is_ascii_digit() && w[7] > b'1';
    while let Some(at) = bytes.windows(8).position(newer) {
        bytes[at + 7] = b'1';
    }
    bytes
}

fn plain(seen: Seen) -> Plain {
    let mut words = seen.head.split(' ');
    let (method, path) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
    let chunked = seen.head.to_ascii_lowercase().contains("\r\ntransfer-encoding:");
    let body = if chunked { unchunk(&seen.body).expect("what we write is well formed").0 } else { seen.body };
    Plain { method, path, body }
}

/// The requests in `bytes`, as far as they can be read.
fn reference(mut bytes: &[u8]) -> Vec<Plain> {
    let mut found = Vec::new();
    loop {
        let mut space = [httparse::EMPTY_HEADER; 128];
        let mut request = httparse::Request::new(&mut space);
        let Ok(Status::Complete(length)) = request.parse(bytes) else { return found };
        bytes = &bytes[length..];
        let field = |name: &str| {
            let mut named = request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
            named.next().map(|field| String::from_utf8_lossy(field.value).into_owned())
        };
        let (body, used) = match (field("transfer-encoding"), field("content-length")) {
            (Some(_), _) => match unchunk(bytes) {
                Some(read) => read,
                None => return found,
            },
            (None, Some(length)) => match length.parse().ok().and_then(|length: usize| bytes.get(..length)) {
                Some(body) => (body.to_vec(), body.len()),
                None => return found,
            },
            (None, None) => (Vec::new(), 0),
        };
        bytes = &bytes[used..];
        let target = request.path.unwrap();
        // A URL is passed on as the path in it.
        let path = match target.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("http://")) {
            Some(_) => {
                let rest = &target[7..];
                let path = &rest[rest.find(['/', '?']).unwrap_or(rest.len())..];
                if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
            }
            None => target.to_owned(),
        };
        found.push(Plain { method: request.method.unwrap().to_owned(), path, body });
    }
}
