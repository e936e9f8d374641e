//! Chunked bodies (RFC 9112, section 7.1), decoded step by step and strictly.
//! Extensions and trailers are dropped: no worker asks for them.

use crate::error::HttpError;

/// Most bytes of extensions and trailers that one body may have in all.
const MAX_DROPPED: usize = 8 * 1024;
/// A size with more digits is of no body that exists.
const MAX_DIGITS: u32 = 15;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// At the beginning of a trailer line, or of the empty line that ends all.
    TrailerStart,
    Trailer,
    TrailerLf,
    EndLf,
    Done,
}

/// Decodes one body.
#[derive(Debug, Default)]
pub struct Decoder {
    state: State,
    /// Bytes of the current chunk that are still to come.
    left: u64,
    digits: u32,
    dropped: usize,
}

impl Decoder {
    /// Has the whole body been read?
    #[inline]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Reads `input` until it ends or the body does, passes the data to `data`, and
    /// returns the number of bytes that it has read.
    ///
    /// # Errors
    /// For anything that is not exactly this coding.
    pub fn decode(&mut self, input: &[u8], mut data: impl FnMut(&[u8])) -> Result<usize, HttpError> {
        let mut at = 0;
        while at < input.len() && self.state != State::Done {
            if self.state == State::Data {
                let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(input.len() - at);
                data(&input[at..at + length]);
                at += length;
                self.left -= length as u64;
                if self.left == 0 {
                    self.state = State::DataCr;
                }
                continue;
            }
            self.step(input[at])?;
            at += 1;
        }
        Ok(at)
    }

    fn step(&mut self, byte: u8) -> Result<(), HttpError> {
        self.state = match (self.state, byte) {
            (State::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                self.digits += 1;
                if self.digits > MAX_DIGITS {
                    return Err(HttpError::bad("a chunk's size is too large"));
                }
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                self.left = self.left * 16 + u64::from(digit);
                State::Size
            }
            (State::Size, b';') if self.digits > 0 => self.drop_one(State::Extension)?,
            (State::Size, b'\r') if self.digits > 0 => State::SizeLf,
            (State::Size, _) => return Err(HttpError::bad("a chunk's size is not a hexadecimal number")),
            (State::Extension, b'\r') => State::SizeLf,
            (State::Extension | State::Trailer, b'\t' | b' '..=b'~' | 0x80..) => self.drop_one(self.state)?,
            (State::SizeLf, b'\n') => {
                self.digits = 0;
                if self.left == 0 { State::TrailerStart } else { State::Data }
            }
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size,
            (State::TrailerStart, b'\r') => State::EndLf,
            (State::TrailerStart, b'!'..=b'~') => self.drop_one(State::Trailer)?,
            (State::Trailer, b'\r') => State::TrailerLf,
            (State::TrailerLf, b'\n') => State::TrailerStart,
            (State::EndLf, b'\n') => State::Done,
            _ => return Err(HttpError::bad("the chunked body is malformed")),
        };
        Ok(())
    }

    fn drop_one(&mut self, next: State) -> Result<State, HttpError> {
        self.dropped += 1;
        if self.dropped > MAX_DROPPED {
            return Err(HttpError::bad("the chunk extensions and trailers are longer than 8192 bytes"));
        }
        Ok(next)
    }
}

/// Appends `data`, which must not be empty, to `out` as one chunk.
pub fn encode(data: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let nibbles = (usize::BITS - data.len().leading_zeros()).div_ceil(4);
    for index in (0..nibbles).rev() {
        out.push(DIGITS[(data.len() >> (4 * index)) & 15]);
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}

/// The last chunk, which ends a body.
pub const LAST: &[u8] = b"0\r\n\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(parts: &[&[u8]]) -> Result<(Vec<u8>, usize, bool), HttpError> {
        let (mut decoder, mut data, mut used) = (Decoder::default(), Vec::new(), 0);
        for part in parts {
            used += decoder.decode(part, |bytes| data.extend_from_slice(bytes))?;
        }
        Ok((data, used, decoder.is_done()))
    }

    #[test]
    fn data_comes_out_however_the_input_is_cut() {
        let body = b"3\r\nabc\r\nA;x=\"y\"\r\n0123456789\r\n0\r\nTrailer: t\r\n\r\n";
        let whole = [body.as_slice(), b"GET"].concat();
        assert_eq!(decode(&[&whole]), Ok((b"abc0123456789".to_vec(), body.len(), true)));
        for cut in 0..body.len() {
            let parts = decode(&[&body[..cut], &body[cut..]]);
            assert_eq!(parts, Ok((b"abc0123456789".to_vec(), body.len(), true)), "{cut}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in [
            "\r\n",
            "x\r\n",
            "-1\r\n",
            "+1\r\n",
            "0x1\r\na",
            " 1\r\n",
            "1 \r\na",
            "1\na",
            "1\r\nab",
            "1\r\na\n",
            "1;a\nb",
            "1;\0\r\n",
            "1\rx",
            "ffffffffffffffff\r\n",
            "0\r\n \r\n",
            "0\r\na: b\n\r\n",
            "0\r\n\n",
            ";\r\n",
            "0\r\na\0: b\r\n",
        ] {
            assert!(decode(&[bad.as_bytes()]).is_err(), "{bad:?}");
        }
        let long = [b"1;".as_slice(), &vec![b'a'; MAX_DROPPED]].concat();
        assert!(decode(&[&long]).is_err());
    }

    #[test]
    fn what_is_encoded_decodes() {
        for length in [1, 9, 15, 16, 255, 256, 4096, 70_000] {
            let (data, mut out) = (vec![7; length], Vec::new());
            encode(&data, &mut out);
            out.extend_from_slice(LAST);
            assert_eq!(decode(&[&out]), Ok((data, out.len(), true)));
        }
    }
}
