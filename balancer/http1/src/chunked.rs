//! Chunked bodies (RFC 9112, section 7.1), decoded step by step and strictly.
//! Extensions are dropped, trailers are kept for [`crate::trailers`].

use crate::error::HttpError;
use crate::syntax;

/// Most bytes of extensions and trailers that one body may have in all.
const MAX_EXTRA: usize = 8 * 1024;
/// A size with more digits is of no body that exists.
const MAX_DIGITS: u32 = 15;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Size,
    Extension(Extension),
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// At the beginning of a trailer line, or of the empty line that ends all.
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    Done,
}

/// Where the decoder is within the extensions of a chunk:
/// `*( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] )`, with a token or a
/// quoted string as the value (RFC 9112, section 7.1.1). White space (BWS) is bad style
/// that a recipient must take (RFC 9110, section 5.6.3), but only where it may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extension {
    /// Behind a size, a quoted string, or white space: a semicolon must follow.
    End,
    /// Behind a semicolon.
    BeforeName,
    Name,
    /// Behind a name and white space.
    AfterName,
    /// Behind an equals sign.
    BeforeValue,
    Token,
    Quoted,
    /// Behind a backslash within a quoted string.
    Escaped,
    /// Behind a quoted string.
    Closed,
}

impl Extension {
    /// What comes behind `byte`; `None` for what must not stand here.
    fn next(self, byte: u8) -> Option<Self> {
        use Extension::{AfterName, BeforeName, BeforeValue, Closed, End, Escaped, Name, Quoted, Token};
        let is_space = matches!(byte, b' ' | b'\t');
        Some(match (self, byte) {
            (Quoted, b'"') => Closed,
            (Quoted, b'\\') => Escaped,
            (Quoted | Escaped, _) if syntax::is_value(&[byte]) => Quoted,
            (Quoted | Escaped, _) => return None,
            (End | Name | AfterName | Token | Closed, b';') => BeforeName,
            (Name | AfterName, b'=') => BeforeValue,
            (BeforeName | Name, _) if syntax::is_token(&[byte]) => Name,
            (BeforeValue | Token, _) if syntax::is_token(&[byte]) => Token,
            (BeforeValue, b'"') => Quoted,
            (BeforeName | BeforeValue | AfterName | End, _) if is_space => self,
            (Name, _) if is_space => AfterName,
            (Token | Closed, _) if is_space => End,
            _ => return None,
        })
    }

    /// May the line end here?
    fn is_whole(self) -> bool {
        matches!(self, Self::Name | Self::Token | Self::Closed)
    }
}

/// Decodes one body.
#[derive(Debug, Default)]
pub struct Decoder {
    state: State,
    /// Bytes of the current chunk that are still to come.
    left: u64,
    digits: u32,
    /// Bytes of extensions and trailers so far.
    extra: usize,
    /// The lines of the trailers so far. Nearly all bodies have none.
    trailers: Vec<u8>,
}

impl Decoder {
    /// Has the whole body been read?
    #[inline]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The lines of the trailers as they were sent, each with its end; nothing when there are
    /// none, and a part of them before the body has ended.
    #[inline]
    pub fn trailers(&self) -> &[u8] {
        &self.trailers
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
            (State::Size, b'\r') if self.digits > 0 => State::SizeLf,
            (State::Size, b';' | b' ' | b'\t') if self.digits > 0 => self.extend(Extension::End, byte)?,
            (State::Size, _) => return Err(HttpError::bad("a chunk's size is not a hexadecimal number")),
            (State::Extension(extension), b'\r') if extension.is_whole() => State::SizeLf,
            (State::Extension(extension), _) => self.extend(extension, byte)?,
            (State::SizeLf, b'\n') => {
                self.digits = 0;
                if self.left == 0 { State::TrailerStart } else { State::Data }
            }
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size,
            (State::TrailerStart, b'\r') => State::EndLf,
            (State::TrailerStart | State::TrailerName, _) if syntax::is_token(&[byte]) => {
                self.keep(byte, State::TrailerName)?
            }
            (State::TrailerName, b':') => self.keep(byte, State::TrailerValue)?,
            (State::TrailerValue, b'\r') => self.keep(byte, State::TrailerLf)?,
            (State::TrailerValue, _) if syntax::is_value(&[byte]) => self.keep(byte, State::TrailerValue)?,
            (State::TrailerLf, b'\n') => self.keep(byte, State::TrailerStart)?,
            (State::EndLf, b'\n') => State::Done,
            _ => return Err(HttpError::bad("the chunked body is malformed")),
        };
        Ok(())
    }

    /// The state behind `byte`, which is part of a chunk's extensions.
    fn extend(&mut self, extension: Extension, byte: u8) -> Result<State, HttpError> {
        match extension.next(byte) {
            Some(next) => self.count(State::Extension(next)),
            None => Err(HttpError::bad("a chunk's extensions are not names with values")),
        }
    }

    /// The state behind `byte`, which is part of the trailers.
    fn keep(&mut self, byte: u8, next: State) -> Result<State, HttpError> {
        self.trailers.push(byte);
        self.count(next)
    }

    fn count(&mut self, next: State) -> Result<State, HttpError> {
        self.extra += 1;
        if self.extra > MAX_EXTRA {
            return Err(HttpError::bad("the chunk extensions and trailers are longer than 8192 bytes"));
        }
        Ok(next)
    }
}

/// Appends `data`, which must not be empty, to `out` as one chunk.
pub fn encode(data: &[u8], out: &mut Vec<u8>) {
    encode_with(data, |part| out.extend_from_slice(part));
}

/// As [`encode`], for what is no [`Vec`]: passes the parts of the chunk to `out`, in order.
pub fn encode_with(data: &[u8], mut out: impl FnMut(&[u8])) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let nibbles = (usize::BITS - data.len().leading_zeros()).div_ceil(4) as usize;
    let mut line = [b'\r'; SIZE_LINE];
    for (index, digit) in line[..nibbles].iter_mut().enumerate() {
        *digit = DIGITS[(data.len() >> (4 * (nibbles - 1 - index))) & 15];
    }
    line[nibbles + 1] = b'\n';
    out(&line[..nibbles + 2]);
    out(data);
    out(b"\r\n");
}

/// Longest size of a chunk in hexadecimal digits, and the line's end.
const SIZE_LINE: usize = usize::BITS as usize / 4 + 2;

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
            "0\r\nno colon\r\n",
            "0\r\na : b\r\n",
            "0\r\n: b\r\n",
            "0\r\n\"a\": b\r\n",
        ] {
            assert!(decode(&[bad.as_bytes()]).is_err(), "{bad:?}");
        }
        let long = [b"1;".as_slice(), &vec![b'a'; MAX_EXTRA]].concat();
        assert!(decode(&[&long]).is_err());
        let long = [b"0\r\n".as_slice(), &b"a:\r\n".repeat(MAX_EXTRA / 4 + 1)].concat();
        assert!(decode(&[&long]).is_err());
    }

    #[test]
    fn trailers_are_kept() {
        let (mut decoder, body) = (Decoder::default(), b"1;x\r\na\r\n0\r\nA: b\r\nc:\xe9\r\n\r\n");
        for byte in body {
            decoder.decode(&[*byte], |_| {}).unwrap();
        }
        assert_eq!((decoder.is_done(), decoder.trailers()), (true, b"A: b\r\nc:\xe9\r\n".as_slice()));
    }

    #[test]
    fn extensions_have_one_grammar() {
        let fits = |extension: &str| decode(&[format!("1{extension}\r\na\r\n0\r\n\r\n").as_bytes()]).is_ok();
        for good in [
            "",
            ";a",
            ";a=b",
            ";a;b=c;d",
            ";a=\"\"",
            ";a=\"b c;\\\"\t\\\\\u{e9}\"",
            ";a=\"b\";c",
            " ; a = b\t; c",
            "\t;a =\"b\" ;c",
        ] {
            assert!(fits(good), "{good:?}");
        }
        for bad in [
            ";",
            " ",
            "; ",
            ";;",
            ";a;",
            ";a ",
            ";a=b ",
            ";a=",
            ";a= ",
            ";=b",
            ";a b",
            ";a=b c",
            ";a=b=c",
            ";a==b",
            ";\"a\"",
            ";a=\"b",
            ";a=\"b\"c",
            ";a=\"b\" c",
            ";a=\"b\\\"",
            ";a=b\"c\"",
            ";a=\"\u{7f}\"",
            ";a=\"\\\u{1}\"",
            ";a\u{e9}",
            ";a\0",
            ";a,b",
            " a",
        ] {
            assert!(!fits(bad), "{bad:?}");
        }
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
