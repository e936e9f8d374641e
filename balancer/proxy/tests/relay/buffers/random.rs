//! Requests and responses of random frames and lengths, with buffers of any size: what
//! arrives is what was sent, whatever was kept on the way. `FUZZ_SECONDS=600` goes on with
//! new ones for that long.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use balancer_proxy::ProxyLimits;
use fastrand::Rng;
use shared_testkit::eventually;
use shared_testkit::oracle::unchunk;

use super::{bytes, held, in_flight};
use crate::harness::{Relay, Seen, Upstream};

const CONNECTIONS: u64 = 60;
const SIZES: [u64; 7] = [0, 1, 7, 1_000, 65_535, 100_000, 1 << 20];
const MEMORY: [u64; 3] = [0, 65_536, 300_000];
const BODIES: [usize; 6] = [0, 1, 100, 33_000, 70_000, 400_000];
const RESPONSES: [usize; 4] = [0, 1, 40_000, 300_000];
/// More than all sockets on the way hold.
const LONG: usize = 12_000_000;

/// What one request asks for.
#[derive(Debug, Clone)]
struct Wanted {
    body: Vec<u8>,
    /// Length of the response's body in bytes.
    length: usize,
    /// `length`, `chunked`, or `close`.
    frame: &'static str,
    /// The worker ends within the response.
    breaks_off: bool,
    /// The connection ends behind it.
    is_last: bool,
}

impl Wanted {
    fn new(rng: &mut Rng, is_last: bool) -> Self {
        let is_long = is_last && rng.bool();
        let length = if is_long { LONG } else { RESPONSES[rng.usize(..RESPONSES.len())] };
        Self {
            body: bytes(BODIES[rng.usize(..BODIES.len())]),
            length,
            frame: ["length", "chunked", "close"][rng.usize(..3)],
            breaks_off: is_last && length > 1 && rng.u8(..4) == 0,
            is_last,
        }
    }

    fn request(&self, rng: &mut Rng) -> Vec<u8> {
        let Self { body, length, frame, breaks_off, is_last } = self;
        let close = if *is_last { "Connection: close\r\n" } else { "" };
        let head = format!("PUT /{length}/{frame}/{breaks_off} HTTP/1.1\r\nHost: a\r\n{close}");
        if rng.bool() {
            return [format!("{head}Content-Length: {}\r\n\r\n", body.len()).as_bytes(), body].concat();
        }
        let head = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
        let most = [1_000, 20_000, 1_000_000][rng.usize(..3)];
        [head.as_bytes(), &chunks(body, most), b"0\r\n\r\n"].concat()
    }

    /// The body of the response, as far as the worker sends it.
    fn sent(&self) -> Vec<u8> {
        let mut body = bytes(self.length);
        body.truncate(if self.breaks_off { self.length / 2 } else { self.length });
        body
    }
}

fn chunks(body: &[u8], most: usize) -> Vec<u8> {
    let chunk = |part: &[u8]| [format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat();
    body.chunks(most).flat_map(chunk).collect()
}

/// Answers as the path of a request says.
fn answer(stream: &mut TcpStream, seen: &Seen) {
    let path = seen.head.split(' ').nth(1).unwrap();
    let [length, frame, breaks_off]: [&str; 3] = path[1..].split('/').collect::<Vec<_>>().try_into().unwrap();
    let (body, breaks_off) = (bytes(length.parse().unwrap()), breaks_off == "true");
    let sent = if breaks_off { &body[..body.len() / 2] } else { &body };
    let response = match frame {
        "length" => {
            [format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").as_bytes(), sent].concat()
        }
        "close" => [b"HTTP/1.1 200 OK\r\n\r\n", sent].concat(),
        _ => {
            let end: &[u8] = if breaks_off { b"" } else { b"0\r\n\r\n" };
            [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", &chunks(sent, 50_001)[..], end]
                .concat()
        }
    };
    let _ = stream.write_all(&response);
    if frame == "close" || breaks_off {
        let _ = stream.shutdown(Shutdown::Both);
    }
}

/// Checks the response to `wanted` at the beginning of `got`, and returns what is behind.
fn check<'a>(got: &'a [u8], wanted: &Wanted) -> &'a [u8] {
    let head = got.windows(4).position(|part| part == b"\r\n\r\n").unwrap() + 4;
    let text = String::from_utf8_lossy(&got[..head]).to_lowercase();
    let (got, sent) = (&got[head..], wanted.sent());
    assert!(text.starts_with("http/1.1 200"), "{text}");
    match (wanted.breaks_off, wanted.frame) {
        (true, "length") => {
            assert!(got == sent, "{} of {}", got.len(), sent.len());
            b""
        }
        (true, "chunked") => {
            assert!(unchunk(got).is_none() && got.len() >= sent.len(), "{} of {}", got.len(), sent.len());
            b""
        }
        (false, "length") => {
            assert!(got.get(..sent.len()) == Some(&sent[..]), "{} of {}", got.len(), sent.len());
            &got[sent.len()..]
        }
        // What ends with the worker's connection comes in chunks.
        _ => {
            let (body, used) = unchunk(got).unwrap();
            assert!(body == sent, "{} of {}", body.len(), sent.len());
            &got[used..]
        }
    }
}

/// What a slow client waits for before it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slow {
    /// All of the last response is in memory.
    UntilWhole,
    /// Some of it is, or there is no memory.
    UntilStuck,
}

/// Carries out what is `wanted` on one connection.
fn carry(relay: &Relay, upstream: &Upstream, wanted: &[Wanted], slow: Option<Slow>, rng: &mut Rng) {
    let input: Vec<u8> = wanted.iter().flat_map(|wanted| wanted.request(rng)).collect();
    let refused = || relay.counters.buffers.responses_refused.load(Ordering::Relaxed);
    let (refused_before, cut) = (refused(), rng.usize(0..=input.len()));
    let mut client = relay.send(b"");
    let mut writer = client.try_clone().unwrap();
    let writer = thread::spawn(move || {
        for part in [&input[..cut], &input[cut..]] {
            writer.write_all(part).unwrap();
        }
    });
    if let Some(slow) = slow {
        eventually("the last is asked for", || {
            (upstream.seen.lock().unwrap().len() == wanted.len()).then_some(())
        });
        eventually("it is kept", || {
            let is_stuck = held(relay) > 0 || refused() > refused_before;
            (in_flight(relay) == 0 || slow == Slow::UntilStuck && is_stuck).then_some(())
        });
    }
    let mut got = Vec::new();
    // What breaks off may end with a reset.
    let _ = client.read_to_end(&mut got);
    writer.join().unwrap();
    let rest = wanted.iter().fold(&got[..], |got, wanted| check(got, wanted));
    assert!(rest.is_empty(), "{} bytes behind the last response", rest.len());
    let seen = upstream.take();
    assert_eq!(seen.len(), wanted.len());
    for (seen, wanted) in seen.into_iter().zip(wanted) {
        let is_chunked = seen.head.to_lowercase().contains("transfer-encoding");
        let body = if is_chunked { unchunk(&seen.body).unwrap().0 } else { seen.body };
        assert!(body == wanted.body, "{} of {}", body.len(), wanted.body.len());
    }
    eventually("all memory is free", || (held(relay) == 0).then_some(()));
}

#[test]
fn what_arrives_is_what_was_sent_whatever_the_buffers_hold() {
    let seconds: Option<u64> = std::env::var("FUZZ_SECONDS").ok().map(|seconds| seconds.parse().unwrap());
    let end = Instant::now() + Duration::from_secs(seconds.unwrap_or(0));
    let first = if seconds.is_some() { fastrand::u64(..) } else { 0 };
    let mut tried = 0;
    while tried < CONNECTIONS || Instant::now() < end {
        let seed = first.wrapping_add(tried);
        let mut rng = Rng::with_seed(seed);
        let limits = ProxyLimits {
            buffer_requests: SIZES[rng.usize(..SIZES.len())],
            buffer_responses: if rng.bool() { 32 << 20 } else { SIZES[rng.usize(..SIZES.len())] },
            buffer_memory: if rng.bool() { 256 << 20 } else { MEMORY[rng.usize(..MEMORY.len())] },
            ..ProxyLimits::default()
        };
        let count = rng.usize(1..4);
        let wanted: Vec<Wanted> = (1..=count).map(|number| Wanted::new(&mut rng, number == count)).collect();
        let is_whole = limits.buffer_responses > LONG as u64 && limits.buffer_memory > 2 * LONG as u64;
        let slow = if is_whole && rng.bool() { Slow::UntilWhole } else { Slow::UntilStuck };
        let slow = (limits.buffer_responses > 0 && rng.bool()).then_some(slow);
        let shown: Vec<_> = wanted.iter().map(|one| (one.body.len(), one.length, one.frame)).collect();
        println!("seed {seed}, {slow:?}: {shown:?}, {limits:?}");
        let upstream = Upstream::with(answer);
        let relay = Relay::start(&[upstream.address], limits);
        carry(&relay, &upstream, &wanted, slow, &mut rng);
        tried += 1;
    }
}
