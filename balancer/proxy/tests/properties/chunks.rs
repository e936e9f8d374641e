//! Chunked bodies: the same data whichever way they come, and the same as
//! somebody else decodes.

use balancer_http1::chunked::{self, Decoder};
use fastrand::Rng;

use crate::cut;
use shared_testkit::oracle::{extensions_fit, unchunk};

/// Data, bytes read, and whether the end was among them.
type Decoded = (Vec<u8>, usize, bool);

pub(crate) fn check(input: &[u8], rng: &mut Rng) -> bool {
    let whole = decode(&[input]);
    let parts = decode(&cut(input, rng));
    assert_eq!(whole, parts, "whole and in parts");
    let Some((data, used, true)) = whole else { return false };
    assert_eq!(unchunk(input), Some((data.clone(), used)));

    let mut out = Vec::new();
    for part in cut(&data, rng).into_iter().filter(|part| !part.is_empty()) {
        chunked::encode(part, &mut out);
    }
    out.extend_from_slice(chunked::LAST);
    assert_eq!(unchunk(&out), Some((data, out.len())));
    true
}

fn decode(parts: &[&[u8]]) -> Option<Decoded> {
    let (mut decoder, mut data, mut used) = (Decoder::default(), Vec::new(), 0);
    for part in parts {
        used += decoder.decode(part, |bytes| data.extend_from_slice(bytes)).ok()?;
    }
    Some((data, used, decoder.is_done()))
}

/// Extensions are taken if and only if the grammar has them.
pub(crate) fn check_extensions(extensions: &[u8], rng: &mut Rng) -> bool {
    let size: &[u8] = if rng.bool() { b"1" } else { b"0" };
    let end: &[u8] = if size == b"1" { b"\r\nx\r\n0\r\n\r\n" } else { b"\r\n\r\n" };
    let body = [size, extensions, end].concat();
    let is_taken = decode(&cut(&body, rng)).is_some_and(|(_, used, is_done)| is_done && used == body.len());
    assert_eq!(is_taken, extensions_fit(extensions));
    is_taken
}
