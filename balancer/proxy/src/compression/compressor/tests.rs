//! Bodies of many sizes that come in many ways, decoded by the codecs' own decoders.

use std::collections::VecDeque;
use std::io::Read;
use std::pin::Pin;
use std::task::Waker;

use balancer_http1::chunked;
use balancer_state::counters::Counters;
use fastrand::Rng;
use tokio::io::ReadBuf;

use super::*;

/// A worker: parts of its response, and pauses (`None`) between them. Then it closes.
struct Worker(VecDeque<Option<Vec<u8>>>);

impl AsyncRead for Worker {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.0.pop_front() {
            None => Poll::Ready(Ok(())),
            Some(None) => Poll::Pending,
            Some(Some(mut part)) => {
                let rest = part.split_off(part.len().min(room.remaining()));
                room.put_slice(&part);
                if !rest.is_empty() {
                    self.0.push_front(Some(rest));
                }
                Poll::Ready(Ok(()))
            }
        }
    }
}

/// Bytes of which some can be foreseen.
fn text(rng: &mut Rng, length: usize) -> Vec<u8> {
    let words: [&[u8]; 4] = [b"balance ", b"worker ", b"\"id\": 17, ", b"\n"];
    let mut text = Vec::with_capacity(length + 16);
    while text.len() < length {
        match rng.u8(..8) {
            0 => text.push(rng.u8(..)),
            other => text.extend_from_slice(words[usize::from(other) % words.len()]),
        }
    }
    text.truncate(length);
    text
}

/// As much as can be decoded, and whether that is all of it.
fn decode(coding: Coding, bytes: &[u8]) -> (Vec<u8>, bool) {
    let mut decoder: Box<dyn Read + '_> = match coding {
        Coding::Gzip => Box::new(flate2::read::GzDecoder::new(bytes)),
        Coding::Brotli => Box::new(brotli::Decompressor::new(bytes, 4096)),
        Coding::Zstd => Box::new(zstd::stream::read::Decoder::new(bytes).unwrap()),
    };
    let (mut out, mut part) = (Vec::new(), [0; 4096]);
    loop {
        match decoder.read(&mut part) {
            Ok(0) => return (out, true),
            Ok(count) => out.extend_from_slice(&part[..count]),
            Err(_) => return (out, false),
        }
    }
}

fn memory(bytes: u64) -> Arc<BufferMemory> {
    Arc::new(BufferMemory::new(bytes, Arc::new(Counters::default())))
}

/// All that comes out, what is there at each pause, and how it ends.
struct Run {
    out: Vec<u8>,
    at_pauses: Vec<usize>,
    result: Result<(), BodyError>,
}

fn run(coding: Coding, framing: Framing, parts: Vec<Option<Vec<u8>>>, rng: &mut Rng) -> Run {
    let mut compressor = Compressor::new(coding, framing, &memory(64 << 20)).unwrap();
    let (mut input, mut worker) = (ReadBuffer::default(), Worker(parts.into()));
    let mut cx = Context::from_waker(Waker::noop());
    let (mut out, mut at_pauses) = (Vec::new(), Vec::new());
    let result = loop {
        match compressor.poll_fill(&mut input, &mut worker, &mut cx) {
            Poll::Ready(Ok(0)) => break Ok(()),
            Poll::Ready(Ok(_)) => {
                while !compressor.bytes().is_empty() {
                    let count = rng.usize(1..=compressor.bytes().len());
                    out.extend_from_slice(&compressor.bytes()[..count]);
                    compressor.consume(count);
                }
            }
            Poll::Ready(Err(error)) => break Err(error),
            Poll::Pending => at_pauses.push(out.len()),
        }
    };
    assert_eq!(compressor.has_ended(), result.is_ok());
    Run { out, at_pauses, result }
}

/// `body` in this framing, in parts and with pauses.
fn parts(body: &[u8], framing: Framing, rng: &mut Rng) -> Vec<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    match framing {
        Framing::Chunked => {
            let mut rest = body;
            while !rest.is_empty() {
                let (chunk, others) = rest.split_at(rng.usize(1..=rest.len()));
                chunked::encode(chunk, &mut bytes);
                rest = others;
            }
            bytes.extend_from_slice(chunked::LAST);
        }
        _ => bytes.extend_from_slice(body),
    }
    let mut parts = Vec::new();
    while !bytes.is_empty() {
        let rest = bytes.split_off(rng.usize(1..=bytes.len()));
        parts.push(Some(std::mem::replace(&mut bytes, rest)));
        if rng.bool() {
            parts.push(None);
        }
    }
    parts
}

#[test]
fn every_body_comes_out_as_it_went_in() {
    let mut rng = Rng::with_seed(7);
    for length in [1, 2, 100, 1_023, 1_024, 32_768, 65_536, 65_537, 131_072, 300_000, 1_000_003] {
        let body = text(&mut rng, length);
        for coding in Coding::ALL {
            for framing in [Framing::Length(length as u64), Framing::Chunked, Framing::UntilClose] {
                let parts = parts(&body, framing, &mut rng);
                let Run { out, result, .. } = run(coding, framing, parts, &mut rng);
                assert!(result.is_ok(), "{coding:?} {framing:?} {length}: {result:?}");
                assert!(decode(coding, &out) == (body.clone(), true), "{coding:?} {framing:?} {length}");
                assert!(length < 30_000 || out.len() < length / 2, "{coding:?} {length}: {}", out.len());
            }
        }
    }
}

#[test]
fn all_that_a_worker_has_sent_is_there_when_it_pauses() {
    let mut rng = Rng::with_seed(8);
    for coding in Coding::ALL {
        let events: Vec<Vec<u8>> = (0..20).map(|_| text(&mut rng, 40)).collect();
        let parts = events.iter().flat_map(|event| [Some(event.clone()), None, None]).collect();
        let Run { out, at_pauses, result } = run(coding, Framing::UntilClose, parts, &mut rng);
        assert!(result.is_ok());
        // The first time that a worker has nothing, what it has sent comes out; then it is waited for.
        assert_eq!(at_pauses.len(), events.len());
        for (index, end) in at_pauses.into_iter().enumerate() {
            let (decoded, is_whole) = decode(coding, &out[..end]);
            assert!(decoded == events[..=index].concat() && !is_whole, "{coding:?} {index}");
        }
    }
}

#[test]
fn a_body_that_is_not_whole_does_not_end_well() {
    let mut rng = Rng::with_seed(9);
    let body = text(&mut rng, 50_000);
    for coding in Coding::ALL {
        for (framing, before, behind) in [
            (Framing::Length(60_000), "", ""),
            (Framing::Chunked, "ea60\r\n", ""),
            (Framing::Chunked, "c350\r\n", "\r\nx\r\n"),
        ] {
            let parts =
                [before.as_bytes(), &body, behind.as_bytes()].map(|part| Some(part.to_vec())).to_vec();
            let parts = parts.into_iter().filter(|part| part.as_ref().is_some_and(|part| !part.is_empty()));
            let Run { out, result, .. } = run(coding, framing, parts.collect(), &mut rng);
            let is_expected = match result {
                Err(BodyError::Closed) => behind.is_empty(),
                Err(BodyError::InvalidChunks(_)) => !behind.is_empty(),
                _ => false,
            };
            assert!(is_expected, "{coding:?} {framing:?}");
            assert!(decode(coding, &out) == (body.clone(), false), "{coding:?} {framing:?}");
        }
    }
}

#[test]
fn memory_is_counted_and_given_back() {
    let memory = memory(16 << 20);
    let held = || memory.reserve(0).unwrap().counters().buffers.held.load(Ordering::Relaxed);
    for coding in Coding::ALL {
        let most = (8 << 20) / Encoder::memory(coding);
        let all: Vec<_> = (0..most)
            .map(|_| Compressor::new(coding, Framing::Chunked, &memory).expect("there is memory for it"))
            .collect();
        assert!(Compressor::new(coding, Framing::Chunked, &memory).is_none(), "{coding:?}");
        assert_eq!(held(), most * Encoder::memory(coding));
        drop(all);
        assert_eq!(held(), 0);
    }
}
