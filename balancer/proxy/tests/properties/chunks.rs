//! Chunked bodies: the same data whichever way they come, and the same as
//! somebody else decodes.

use balancer_http1::chunked::{self, Decoder};
use fastrand::Rng;
use httparse::Status;

use crate::cut;

/// Data, bytes read, and whether the end was among them.
type Decoded = (Vec<u8>, usize, bool);

pub(crate) fn check(input: &[u8], rng: &mut Rng) -> bool {
    let whole = decode(&[input]);
    let parts = decode(&cut(input, rng));
    assert_eq!(whole, parts, "whole and in parts");
    let Some((data, used, true)) = whole else { return false };
    assert_eq!(reference(input), Some((data.clone(), used)));

    let mut out = Vec::new();
    for part in cut(&data, rng).into_iter().filter(|part| !part.is_empty()) {
        chunked::encode(part, &mut out);
    }
    out.extend_from_slice(chunked::LAST);
    assert_eq!(reference(&out), Some((data, out.len())));
    true
}

fn decode(parts: &[&[u8]]) -> Option<Decoded> {
    let (mut decoder, mut data, mut used) = (Decoder::default(), Vec::new(), 0);
    for part in parts {
        used += decoder.decode(part, |bytes| data.extend_from_slice(bytes)).ok()?;
    }
    Some((data, used, decoder.is_done()))
}

/// Decodes what is complete, with somebody else's reading of sizes.
fn reference(input: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut data, mut at) = (Vec::new(), 0);
    loop {
        let Ok(Status::Complete((length, size))) = httparse::parse_chunk_size(&input[at..]) else {
            return None;
        };
        at += length;
        if size == 0 {
            break;
        }
        let end = at.checked_add(usize::try_from(size).ok()?)?;
        data.extend_from_slice(input.get(at..end)?);
        at = end + 2;
        (input.get(end..at)? == b"\r\n").then_some(())?;
    }
    // Trailers end with an empty line.
    while input.get(at..at + 2)? != b"\r\n" {
        at += input[at..].windows(2).position(|pair| pair == b"\r\n")? + 2;
    }
    Some((data, at + 2))
}
