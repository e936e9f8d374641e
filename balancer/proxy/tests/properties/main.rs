//! What must hold for every input, looked for with inputs that nobody would
//! write: parts of good and bad messages put together at random and then
//! damaged. Whatever the balancer accepts, a second parser that is not its own
//! (`httparse`) has to read in the same way, before and after rewriting.
//!
//! Runs a fixed set of inputs. `FUZZ_SECONDS=3600` goes on with new ones for
//! that long; a failure prints its input.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails, and says where")]

mod chunks;
mod requests;
mod responses;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use fastrand::Rng;
use shared_testkit::http_inputs;

/// Inputs that every run of the tests tries.
const INPUTS: u64 = 20_000;

/// Tries `property` on inputs that `make` makes; it says whether its input was
/// accepted, and both must happen often enough to mean something.
fn hold(name: &str, make: fn(&mut Rng) -> Vec<u8>, property: fn(&[u8], &mut Rng) -> bool) {
    let seconds = std::env::var("FUZZ_SECONDS").ok().map(|seconds| seconds.parse().unwrap());
    let end = Instant::now() + Duration::from_secs(seconds.unwrap_or(0));
    let first = if seconds.is_some() { fastrand::u64(..) } else { 0 };
    let (mut tried, mut accepted) = (0_u64, 0_u64);
    while tried < INPUTS || Instant::now() < end {
        let seed = first.wrapping_add(tried);
        let mut rng = Rng::with_seed(seed);
        let input = make(&mut rng);
        match catch_unwind(AssertUnwindSafe(|| property(&input, &mut rng))) {
            Ok(was_accepted) => accepted += u64::from(was_accepted),
            Err(_) => panic!("{name} does not hold for seed {seed}: {}", input.escape_ascii()),
        }
        tried += 1;
    }
    println!("{name}: {tried} inputs, {accepted} of them accepted");
    assert!(accepted * 20 > tried && (tried - accepted) * 20 > tried, "{accepted} of {tried} accepted");
}

#[test]
fn requests_mean_the_same_to_everybody() {
    hold("a request", http_inputs::request, requests::check);
}

#[test]
fn answers_mean_the_same_to_everybody() {
    hold("an answer", http_inputs::response, responses::check);
}

#[test]
fn chunked_bodies_mean_the_same_to_everybody() {
    hold("a chunked body", http_inputs::chunks, chunks::check);
}

#[test]
fn chunk_extensions_have_the_grammar_of_the_standard() {
    hold("an extension", http_inputs::extensions, chunks::check_extensions);
}

/// Parts at random that put together are `bytes`.
fn cut<'a>(bytes: &'a [u8], rng: &mut Rng) -> Vec<&'a [u8]> {
    let mut ends: Vec<usize> = (0..rng.usize(0..6)).map(|_| rng.usize(0..=bytes.len())).collect();
    if rng.u8(0..8) == 0 {
        ends = (1..bytes.len().min(400)).collect();
    }
    ends.push(bytes.len());
    ends.sort_unstable();
    let mut start = 0;
    ends.into_iter().map(|end| &bytes[std::mem::replace(&mut start, end)..end]).collect()
}

/// Checks the form of a head that goes on: lines that end in CR LF, without any
/// other control character but the tab, and one empty line, at the end.
fn check_form(head: &[u8]) {
    let text = head.strip_suffix(b"\r\n\r\n").expect("the head ends with an empty line");
    for line in text.split(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        assert!(!line.is_empty(), "an empty line within the head");
        assert!(
            line.iter().all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f)),
            "a control character"
        );
    }
    assert_eq!(
        text.iter().filter(|&&b| b == b'\n').count(),
        text.windows(2).filter(|w| w == b"\r\n").count()
    );
}

/// Fields of one name, regardless of case.
fn values<'a>(fields: &[httparse::Header<'a>], name: &str) -> Vec<&'a [u8]> {
    fields.iter().filter(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value).collect()
}

/// What `Connection` fields name, in lower case.
fn named(fields: &[httparse::Header<'_>]) -> Vec<String> {
    let values = values(fields, "connection");
    let names = values.iter().flat_map(|value| value.split(|&byte| byte == b','));
    names.map(|name| String::from_utf8_lossy(name).trim_matches([' ', '\t']).to_ascii_lowercase()).collect()
}
