//! Finds where a head ends, and refuses a wrong one as early as possible: a client
//! must not have to wait for a timeout to learn of it.

use crate::error::HttpError;

/// Longest request target in bytes (RFC 9110, section 4.1, asks for 8000 at least).
pub const MAX_TARGET: usize = 8 * 1024;
/// Longest head in bytes, first line included.
pub const MAX_HEAD: usize = 32 * 1024;
/// Most fields in a head.
pub const MAX_FIELDS: usize = 100;
/// Room for method and version beside the target.
const LINE_SLACK: usize = 96;

/// Remembers how far it has scanned, so that a head that comes byte by byte is scanned
/// once.
#[derive(Debug, Default)]
pub struct Scanner {
    scanned: usize,
    /// Where the current line begins.
    line: usize,
    /// Complete lines so far.
    lines: usize,
}

impl Scanner {
    /// The length of the head at the beginning of `bytes`, the empty line
    /// included; `None` when it is still to come.
    ///
    /// # Errors
    /// For line ends other than CR LF, and for a head over the limits.
    #[inline]
    pub fn find(&mut self, bytes: &[u8]) -> Result<Option<usize>, HttpError> {
        while let Some(offset) = bytes[self.scanned..].iter().position(|&byte| byte == b'\n') {
            let end = self.scanned + offset;
            if end == self.line || bytes[end - 1] != b'\r' {
                return Err(HttpError::bad("a line of the head ends in LF without CR"));
            }
            if self.lines == 0 && end > MAX_TARGET + LINE_SLACK {
                return Err(TARGET_TOO_LONG);
            }
            self.scanned = end + 1;
            if end == self.line + 1 {
                let length = self.scanned;
                let fits = length <= MAX_HEAD && self.lines <= MAX_FIELDS + 1;
                *self = Self::default();
                return if fits { Ok(Some(length)) } else { Err(HEAD_TOO_LARGE) };
            }
            self.line = self.scanned;
            self.lines += 1;
        }
        self.scanned = bytes.len();
        if self.lines == 0 && bytes.len() > MAX_TARGET + LINE_SLACK {
            return Err(TARGET_TOO_LONG);
        }
        if bytes.len() >= MAX_HEAD || self.lines > MAX_FIELDS + 1 {
            return Err(HEAD_TOO_LARGE);
        }
        Ok(None)
    }
}

pub(crate) const TARGET_TOO_LONG: HttpError =
    HttpError::new(414, "the request target is longer than 8192 bytes; shorten the URL");
pub(crate) const HEAD_TOO_LARGE: HttpError =
    HttpError::new(431, "the head has more than 100 fields or 32768 bytes; send fewer or shorter fields");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_ends_at_the_empty_line_however_it_comes() {
        let head = b"GET / HTTP/1.1\r\nhost: a\r\n\r\nbody\n";
        assert_eq!(Scanner::default().find(head), Ok(Some(head.len() - 5)));
        let mut scanner = Scanner::default();
        for length in 0..head.len() - 5 {
            assert_eq!(scanner.find(&head[..length]), Ok(None), "{length}");
        }
        assert_eq!(scanner.find(head), Ok(Some(head.len() - 5)));
    }

    #[test]
    fn a_bare_lf_is_refused_at_once() {
        for bad in [&b"GET / HTTP/1.1\n"[..], b"GET / HTTP/1.1\r\na: b\n", b"\n", b"G\r\n\n"] {
            assert_eq!(Scanner::default().find(bad).unwrap_err().status, 400, "{bad:?}");
        }
    }

    #[test]
    fn limits_hold_before_the_head_is_complete() {
        let long = [b"GET /".as_slice(), &vec![b'a'; 9000]].concat();
        assert_eq!(Scanner::default().find(&long).unwrap_err().status, 414);
        let large = [b"GET / HTTP/1.1\r\nx: ".as_slice(), &vec![b'a'; MAX_HEAD]].concat();
        assert_eq!(Scanner::default().find(&large).unwrap_err().status, 431);
        let many = [b"GET / HTTP/1.1\r\n".as_slice(), &b"x: y\r\n".repeat(101), b"\r\n"].concat();
        assert_eq!(Scanner::default().find(&many).unwrap_err().status, 431);
        let most = [b"GET / HTTP/1.1\r\n".as_slice(), &b"x: y\r\n".repeat(100), b"\r\n"].concat();
        assert_eq!(Scanner::default().find(&most), Ok(Some(most.len())));
    }
}
