//! Where an HTTP/1 response begins and ends (RFC 9112, sections 4, 6 and 7).
//!
//! The decoder is strict: what a lenient client would let pass (two lengths, a
//! length beside chunks, a chunk size that is no number) is an error here,
//! because a test tool that guesses hides faults. It sees bytes, never a socket.

use std::mem::MaybeUninit;

use super::chunked::Chunks;

/// A response head beyond this many bytes is refused.
pub const MAX_HEAD: usize = 64 * 1024;
/// Of a body that somebody wants to look at, this much is kept.
pub const MAX_CAPTURE: usize = 1024 * 1024;
const MAX_HEADERS: usize = 100;

/// A worker's name as it stands in the header, cut to what an id needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tag {
    bytes: [u8; Self::MAX],
    len: u8,
}

impl Tag {
    /// Longer names are cut to this many bytes.
    pub const MAX: usize = 32;

    pub fn new(name: &[u8]) -> Self {
        let name = &name[..name.len().min(Self::MAX)];
        let mut tag = Self::default();
        tag.bytes[..name.len()].copy_from_slice(name);
        tag.len = name.len() as u8;
        tag
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// What the head of the final response said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub status: u16,
    /// Empty when the response names no worker.
    pub worker: Tag,
    /// The connection may carry another request (RFC 9112, section 9.3).
    pub keep_alive: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    #[error("the response head does not parse: {0}")]
    Head(httparse::Error),
    #[error("the response head is longer than {MAX_HEAD} bytes")]
    HeadTooLong,
    #[error("{0} is no status code")]
    Status(u16),
    #[error("invalid Content-Length {0:?}")]
    Length(String),
    #[error("the response has both Content-Length and Transfer-Encoding")]
    LengthAndChunks,
    #[error("the response declares two different lengths")]
    TwoLengths,
    #[error("invalid chunk: {0}")]
    Chunk(&'static str),
    #[error("the response switches protocols (status 101), which was not asked for")]
    Switched,
}

#[derive(Debug)]
enum State {
    Head,
    Length(u64),
    Chunked(Chunks),
    UntilClose,
    Done,
}

/// Follows one response. [`Decoder::feed`] it what arrives.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    /// The request was HEAD, so that no body follows whatever the head says.
    bodiless: bool,
    head: Option<Head>,
}

impl Decoder {
    pub fn new(head_request: bool) -> Self {
        Self { state: State::Head, bodiless: head_request, head: None }
    }

    /// Takes bytes off the front of `input` and returns how many; body bytes
    /// are appended to `capture`, up to [`MAX_CAPTURE`]. What is not taken must
    /// be offered again, with more behind it.
    ///
    /// # Errors
    /// When the bytes are not the next part of a well-formed response.
    pub fn feed(&mut self, input: &[u8], mut capture: Option<&mut Vec<u8>>) -> Result<usize, FramingError> {
        let mut taken = 0;
        loop {
            let rest = &input[taken..];
            let step = match &mut self.state {
                State::Done => return Ok(taken),
                State::Head => match self.read_head(rest)? {
                    0 => return Ok(taken),
                    step => step,
                },
                _ if rest.is_empty() => return Ok(taken),
                State::Length(left) => {
                    let step = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    keep(&mut capture, &rest[..step]);
                    *left -= step as u64;
                    if *left == 0 {
                        self.state = State::Done;
                    }
                    step
                }
                State::UntilClose => {
                    keep(&mut capture, rest);
                    rest.len()
                }
                State::Chunked(chunks) => {
                    let (step, data) = chunks.feed(rest).map_err(FramingError::Chunk)?;
                    keep(&mut capture, &rest[data]);
                    if chunks.is_done() {
                        self.state = State::Done;
                    } else if step == 0 {
                        return Ok(taken);
                    }
                    step
                }
            };
            taken += step;
        }
    }

    /// The final head, once it is complete.
    pub fn head(&self) -> Option<Head> {
        self.head
    }

    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// The peer closed: is that how this response was meant to end?
    pub fn ends_with_close(&self) -> bool {
        matches!(self.state, State::UntilClose | State::Done)
    }

    fn read_head(&mut self, input: &[u8]) -> Result<usize, FramingError> {
        let mut headers = [const { MaybeUninit::uninit() }; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut []);
        let parsed = httparse::ParserConfig::default()
            .parse_response_with_uninit_headers(&mut response, input, &mut headers)
            .map_err(FramingError::Head)?;
        let httparse::Status::Complete(length) = parsed else {
            return if input.len() >= MAX_HEAD { Err(FramingError::HeadTooLong) } else { Ok(0) };
        };
        let status = response.code.unwrap_or_default();
        match status {
            0..100 => return Err(FramingError::Status(status)),
            101 => return Err(FramingError::Switched),
            // Interim responses precede the final one (RFC 9110, section 15.2).
            100..200 => return Ok(length),
            _ => {}
        }
        let fields = Fields::read(response.version == Some(1), response.headers)?;
        let no_body = self.bodiless || status == 204 || status == 304;
        self.state = match (fields.chunked, fields.encoded, fields.length) {
            _ if no_body => State::Done,
            (true, _, Some(_)) | (_, true, Some(_)) => return Err(FramingError::LengthAndChunks),
            (true, ..) => State::Chunked(Chunks::default()),
            (false, false, Some(0)) => State::Done,
            (false, false, Some(length)) => State::Length(length),
            _ => State::UntilClose,
        };
        let keep_alive = fields.keep_alive && !matches!(self.state, State::UntilClose);
        self.head = Some(Head { status, worker: fields.worker, keep_alive });
        Ok(length)
    }
}

fn keep(capture: &mut Option<&mut Vec<u8>>, data: &[u8]) {
    if let Some(kept) = capture {
        let room = MAX_CAPTURE.saturating_sub(kept.len());
        kept.extend_from_slice(&data[..data.len().min(room)]);
    }
}

/// The header fields that matter for framing and accounting.
struct Fields {
    length: Option<u64>,
    /// The last transfer coding is chunked.
    chunked: bool,
    /// There is a transfer coding.
    encoded: bool,
    keep_alive: bool,
    worker: Tag,
}

impl Fields {
    fn read(http11: bool, headers: &[httparse::Header<'_>]) -> Result<Self, FramingError> {
        let mut fields =
            Self { length: None, chunked: false, encoded: false, keep_alive: http11, worker: Tag::default() };
        for header in headers {
            // The length tells nearly all other fields apart at once.
            match header.name.len() {
                10 if is(header.name, "connection") => {
                    fields.keep_alive = keep_alive(header.value, fields.keep_alive);
                }
                11 if is(header.name, shared_protocol::WORKER_ID_HEADER) => {
                    fields.worker = Tag::new(header.value);
                }
                14 if is(header.name, "content-length") => {
                    for value in header.value.split(|&byte| byte == b',') {
                        let length = parse_length(value.trim_ascii())?;
                        if fields.length.is_some_and(|earlier| earlier != length) {
                            return Err(FramingError::TwoLengths);
                        }
                        fields.length = Some(length);
                    }
                }
                17 if is(header.name, "transfer-encoding") => {
                    fields.encoded = true;
                    let last = header.value.rsplit(|&byte| byte == b',').next().unwrap_or_default();
                    fields.chunked = last.trim_ascii().eq_ignore_ascii_case(b"chunked");
                }
                _ => {}
            }
        }
        Ok(fields)
    }
}

/// Most servers write names in lower case, and comparing bytes is many times
/// faster than comparing letters.
fn is(name: &str, wanted: &str) -> bool {
    name == wanted || name.eq_ignore_ascii_case(wanted)
}

fn keep_alive(value: &[u8], before: bool) -> bool {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).fold(before, |keep, option| {
        if option.eq_ignore_ascii_case(b"close") {
            false
        } else {
            keep || option.eq_ignore_ascii_case(b"keep-alive")
        }
    })
}

/// `1*DIGIT`, nothing else (RFC 9110, section 8.6).
fn parse_length(value: &[u8]) -> Result<u64, FramingError> {
    let refuse = || FramingError::Length(String::from_utf8_lossy(value).into_owned());
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(refuse());
    }
    std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).ok_or_else(refuse)
}

#[cfg(test)]
mod tests;
