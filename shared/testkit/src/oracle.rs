//! Second readings of HTTP/1, by a parser that is not ours.

use httparse::Status;

/// Decodes a chunked body as far as it is complete, with `httparse`'s reading of sizes.
/// Returns the data, and how many bytes of `input` it took.
pub fn unchunk(input: &[u8]) -> Option<(Vec<u8>, usize)> {
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
