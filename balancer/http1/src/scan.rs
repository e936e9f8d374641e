//! Finds where a head ends, and refuses a wrong one as early as possible: a client
//! must not have to wait for a timeout to learn of it.

use crate::error::HttpError;
use crate::syntax::is_token;

/// Longest request target in bytes (RFC 9110, section 4.1, asks for 8000 at least).
pub const MAX_TARGET: usize = 8 * 1024;
/// Longest head of a request in bytes, first line included. Every client can send one
/// and holds memory with it, so it is as large as browsers need and no larger (nginx:
/// `large_client_header_buffers`, 4 of 8 KiB).
pub const MAX_HEAD: usize = 32 * 1024;
/// Most fields in the head of a request, as Apache has it (`LimitRequestFields`).
pub const MAX_FIELDS: usize = 100;
/// Longest head of a response in bytes. Responses come from the operator's own programs,
/// which set hundreds of cookies or long policies; this is curl's order of magnitude
/// (`MAX_HTTP_RESP_HEADER_SIZE`, 300 KiB).
pub const MAX_RESPONSE_HEAD: usize = 256 * 1024;
/// Most fields in the head of a response.
pub const MAX_RESPONSE_FIELDS: usize = 1_000;
/// A longer method is of no protocol that exists.
pub(crate) const MAX_METHOD: usize = 32;
/// Room for method and version beside the target.
const LINE_SLACK: usize = 96;

/// Limits of one kind of head.
#[derive(Debug)]
struct Limits {
    /// Longest first line in bytes.
    line: usize,
    /// Longest head in bytes, first line included.
    head: usize,
    fields: usize,
    line_too_long: fn(&[u8]) -> HttpError,
    head_too_large: HttpError,
}

static REQUEST: Limits = Limits {
    line: MAX_TARGET + LINE_SLACK,
    head: MAX_HEAD,
    fields: MAX_FIELDS,
    line_too_long: request_line_too_long,
    head_too_large: REQUEST_TOO_LARGE,
};

static RESPONSE: Limits = Limits {
    line: MAX_TARGET + LINE_SLACK,
    head: MAX_RESPONSE_HEAD,
    fields: MAX_RESPONSE_FIELDS,
    line_too_long: |_| HttpError::bad("the status line is longer than 8192 bytes"),
    head_too_large: RESPONSE_TOO_LARGE,
};

/// Remembers how far it has scanned, so that a head that comes byte by byte is scanned
/// once.
#[derive(Debug)]
pub struct Scanner {
    limits: &'static Limits,
    scanned: usize,
    /// Where the current line begins.
    line: usize,
    /// Complete lines so far.
    lines: usize,
}

impl Scanner {
    /// For the heads of requests.
    pub const fn for_requests() -> Self {
        Self::new(&REQUEST)
    }

    /// For the heads of responses.
    pub const fn for_responses() -> Self {
        Self::new(&RESPONSE)
    }

    const fn new(limits: &'static Limits) -> Self {
        Self { limits, scanned: 0, line: 0, lines: 0 }
    }

    /// The length of the head at the beginning of `bytes`, the empty line
    /// included; `None` when it is still to come.
    ///
    /// # Errors
    /// For line ends other than CR LF, and for a head over the limits.
    #[inline]
    pub fn find(&mut self, bytes: &[u8]) -> Result<Option<usize>, HttpError> {
        let limits = self.limits;
        while let Some(offset) = bytes[self.scanned..].iter().position(|&byte| byte == b'\n') {
            let end = self.scanned + offset;
            if self.lines == 0 && end > limits.line {
                return Err((limits.line_too_long)(&bytes[..end]));
            }
            if end == self.line || bytes[end - 1] != b'\r' {
                return Err(HttpError::bad("a line of the head ends in LF without CR"));
            }
            self.scanned = end + 1;
            if end == self.line + 1 {
                let length = self.scanned;
                let fits = length <= limits.head && self.lines <= limits.fields + 1;
                *self = Self::new(limits);
                return if fits { Ok(Some(length)) } else { Err(limits.head_too_large.clone()) };
            }
            self.line = self.scanned;
            self.lines += 1;
        }
        self.scanned = bytes.len();
        if self.lines == 0 && bytes.len() > limits.line {
            return Err((limits.line_too_long)(bytes));
        }
        if bytes.len() >= limits.head || self.lines > limits.fields + 1 {
            return Err(limits.head_too_large.clone());
        }
        Ok(None)
    }
}

/// What is wrong with a request line that is too long: the method is no method, or not
/// known, or the target is too long.
#[cold]
fn request_line_too_long(line: &[u8]) -> HttpError {
    let method = line.split(|&byte| byte == b' ').next().unwrap_or_default();
    if !is_token(method) {
        NO_REQUEST_LINE
    } else if method.len() > MAX_METHOD {
        METHOD_UNKNOWN
    } else {
        TARGET_TOO_LONG
    }
}

pub(crate) const NO_REQUEST_LINE: HttpError =
    HttpError::bad("the request line is not a method, a target and a version with single spaces between");
pub(crate) const METHOD_UNKNOWN: HttpError = HttpError::new(501, "the request's method is not known");
pub(crate) const TARGET_TOO_LONG: HttpError =
    HttpError::new(414, "the request target is longer than 8192 bytes; shorten the URL");
pub(crate) const REQUEST_TOO_LARGE: HttpError =
    HttpError::new(431, "the head has more than 100 fields or 32768 bytes; send fewer or shorter fields");
pub(crate) const RESPONSE_TOO_LARGE: HttpError =
    HttpError::bad("the head has more than 1000 fields or 262144 bytes");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_ends_at_the_empty_line_however_it_comes() {
        let head = b"GET / HTTP/1.1\r\nhost: a\r\n\r\nbody\n";
        assert_eq!(Scanner::for_requests().find(head), Ok(Some(head.len() - 5)));
        let mut scanner = Scanner::for_requests();
        for length in 0..head.len() - 5 {
            assert_eq!(scanner.find(&head[..length]), Ok(None), "{length}");
        }
        assert_eq!(scanner.find(head), Ok(Some(head.len() - 5)));
    }

    #[test]
    fn a_bare_lf_is_refused_at_once() {
        for bad in [&b"GET / HTTP/1.1\n"[..], b"GET / HTTP/1.1\r\na: b\n", b"\n", b"G\r\n\n"] {
            assert_eq!(Scanner::for_requests().find(bad).unwrap_err().status, 400, "{bad:?}");
        }
    }

    #[test]
    fn limits_hold_before_the_head_is_complete() {
        let long = [b"GET /".as_slice(), &vec![b'a'; 9000]].concat();
        assert_eq!(Scanner::for_requests().find(&long).unwrap_err().status, 414);
        let large = [b"GET / HTTP/1.1\r\nx: ".as_slice(), &vec![b'a'; MAX_HEAD]].concat();
        assert_eq!(Scanner::for_requests().find(&large).unwrap_err().status, 431);
        let many = [b"GET / HTTP/1.1\r\n".as_slice(), &b"x: y\r\n".repeat(101), b"\r\n"].concat();
        assert_eq!(Scanner::for_requests().find(&many).unwrap_err().status, 431);
        let most = [b"GET / HTTP/1.1\r\n".as_slice(), &b"x: y\r\n".repeat(100), b"\r\n"].concat();
        assert_eq!(Scanner::for_requests().find(&most), Ok(Some(most.len())));
    }

    #[test]
    fn a_long_first_line_is_refused_for_what_is_long_in_it() {
        let status = |line: &[u8]| Scanner::for_requests().find(line).unwrap_err().status;
        assert_eq!(status(&[b'M'; 100_000]), 501);
        assert_eq!(status(&[b"M".repeat(9000).as_slice(), b" / HTTP/1.1\r\n"].concat()), 501);
        assert_eq!(status(&[b'('; 100_000]), 400);
        assert_eq!(status(&[b" /".as_slice(), &[b'a'; 9000]].concat()), 400);
        assert_eq!(status(&[b"GET /".as_slice(), &[b'a'; 9000], b" HTTP/1.1\r\n"].concat()), 414);
    }

    #[test]
    fn responses_have_limits_of_their_own() {
        let find = |head: &[u8]| Scanner::for_responses().find(head);
        let fields =
            |count| [b"HTTP/1.1 200 OK\r\n".as_slice(), &b"x: y\r\n".repeat(count), b"\r\n"].concat();
        assert_eq!(find(&fields(MAX_RESPONSE_FIELDS)), Ok(Some(fields(MAX_RESPONSE_FIELDS).len())));
        assert!(find(&fields(MAX_RESPONSE_FIELDS + 1)).is_err());
        let long = [b"HTTP/1.1 200 OK\r\nx: ".as_slice(), &[b'a'; 200_000], b"\r\n\r\n"].concat();
        assert_eq!(find(&long), Ok(Some(long.len())));
        assert!(find(&[b"HTTP/1.1 200 OK\r\nx: ".as_slice(), &[b'a'; MAX_RESPONSE_HEAD]].concat()).is_err());
        assert!(find(&[b"HTTP/1.1 200 ".as_slice(), &[b'a'; 9_000]].concat()).is_err());
    }
}
