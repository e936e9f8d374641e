//! The chunked transfer coding (RFC 9112, section 7.1).

use std::ops::Range;

/// A chunk's size line, or one trailer line, may have this many bytes.
const MAX_LINE: usize = 4096;
/// All trailers together may have this many bytes.
const MAX_TRAILERS: usize = 64 * 1024;

#[derive(Debug, Default)]
enum State {
    #[default]
    Size,
    Data(u64),
    /// The line end behind a chunk's data.
    DataEnd,
    Trailer,
    Done,
}

/// Follows a chunked body.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    state: State,
    trailers: usize,
}

impl Chunks {
    /// Takes one element off the front of `input`, which is not empty: returns
    /// the bytes taken and which of them are body. When the element is not
    /// complete, 0 bytes are taken only if `input` holds too little of it.
    pub(super) fn feed(&mut self, input: &[u8]) -> Result<(usize, Range<usize>), &'static str> {
        let mut taken = 0;
        loop {
            let rest = &input[taken..];
            match &mut self.state {
                State::Done => return Ok((taken, 0..0)),
                _ if rest.is_empty() => return Ok((taken, 0..0)),
                State::Data(left) => {
                    let step = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    *left -= step as u64;
                    if *left == 0 {
                        self.state = State::DataEnd;
                    }
                    return Ok((taken + step, taken..taken + step));
                }
                State::Size => {
                    let Some(line) = line(rest)? else { return Ok((taken, 0..0)) };
                    let size = size(line)?;
                    self.state = if size == 0 { State::Trailer } else { State::Data(size) };
                    taken += line.len() + 2;
                }
                State::DataEnd => {
                    if rest[0] != b'\r' || rest.get(1).is_some_and(|&byte| byte != b'\n') {
                        return Err("more data than the chunk's size");
                    }
                    if rest.len() < 2 {
                        return Ok((taken, 0..0));
                    }
                    self.state = State::Size;
                    taken += 2;
                }
                State::Trailer => {
                    let Some(line) = line(rest)? else { return Ok((taken, 0..0)) };
                    taken += line.len() + 2;
                    self.trailers += line.len() + 2;
                    if line.is_empty() {
                        self.state = State::Done;
                    } else if self.trailers > MAX_TRAILERS {
                        return Err("trailers without end");
                    }
                }
            }
        }
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }
}

/// The line at the front of `input`, without its CRLF; `None` when its end has
/// not arrived.
fn line(input: &[u8]) -> Result<Option<&[u8]>, &'static str> {
    let Some(end) = input.iter().take(MAX_LINE).position(|&byte| byte == b'\n') else {
        return if input.len() >= MAX_LINE { Err("a line without end") } else { Ok(None) };
    };
    match input[..end].strip_suffix(b"\r") {
        Some(line) => Ok(Some(line)),
        None => Err("a line ends without CR"),
    }
}

/// `chunk-size [ chunk-ext ]`.
fn size(line: &[u8]) -> Result<u64, &'static str> {
    let digits = line.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii_end();
    if digits.is_empty() || digits.len() > 16 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err("its size is no hexadecimal number");
    }
    let text = std::str::from_utf8(digits).map_err(|_| "its size is no hexadecimal number")?;
    u64::from_str_radix(text, 16).map_err(|_| "its size is no hexadecimal number")
}
