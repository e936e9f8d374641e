//! HTTP/1.1 messages as bytes: what is well formed, where a head ends, how a
//! body is framed. Pure functions that know nothing of sockets or of Pingora.
//!
//! Invariant: what passes here has one meaning only. Whatever two programs could
//! read differently is refused, because that is how requests are smuggled.

pub mod chunked;
pub mod request;
pub mod response;
pub mod scan;
pub mod syntax;
pub mod target;

use std::borrow::Cow;

/// A message that is not passed on: the status and the reason for its sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpError {
    pub status: u16,
    pub detail: Cow<'static, str>,
}

impl HttpError {
    pub const fn new(status: u16, detail: &'static str) -> Self {
        Self { status, detail: Cow::Borrowed(detail) }
    }

    pub const fn bad(detail: &'static str) -> Self {
        Self::new(400, detail)
    }
}

/// How a body is delimited (RFC 9112, section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    #[default]
    Empty,
    Length(u64),
    Chunked,
    /// Answers only: the body ends with the connection.
    UntilClose,
}

/// Part of a head, as offsets into its bytes: a head that is read into a buffer
/// needs no copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// `part` must lie within `whole`, which is far below 4 GiB.
    pub(crate) fn of(start: usize, end: usize) -> Self {
        debug_assert!(start <= end && u32::try_from(end).is_ok());
        Self { start: start as u32, end: end as u32 }
    }

    pub fn in_head(self, head: &[u8]) -> &[u8] {
        &head[self.start as usize..self.end as usize]
    }
}

/// One header field, and what it is to the balancer.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    pub name: Span,
    pub value: Span,
    pub known: Known,
}

/// Fields that the balancer reads, replaces or keeps to itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    Host,
    ContentLength,
    TransferEncoding,
    Connection,
    Upgrade,
    Expect,
    RequestId,
    WorkerId,
    ForwardedFor,
    /// What else a client may claim of where a request came from.
    Claim,
    /// Describes one connection and ends at it (RFC 9110, section 7.6.1), is only
    /// reserved because the option has that name (`Close`; RFC 9112, section 9.6), or
    /// is dangerous to programs behind (`Proxy`).
    Hop,
    Other,
}

impl Known {
    pub fn of(name: &[u8]) -> Self {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        match name.len() {
            2 if is("te") => Self::Hop,
            4 if is("host") => Self::Host,
            5 if is("proxy") || is("close") => Self::Hop,
            6 if is("expect") => Self::Expect,
            7 if is("upgrade") => Self::Upgrade,
            7 if is("trailer") => Self::Hop,
            9 if is("x-real-ip") || is("forwarded") => Self::Claim,
            10 if is("connection") => Self::Connection,
            10 if is("keep-alive") => Self::Hop,
            11 if is("x-worker-id") => Self::WorkerId,
            12 if is("x-request-id") => Self::RequestId,
            14 if is("content-length") => Self::ContentLength,
            15 if is("x-forwarded-for") => Self::ForwardedFor,
            16 if is("x-forwarded-host") || is("x-forwarded-port") => Self::Claim,
            16 if is("proxy-connection") => Self::Hop,
            17 if is("transfer-encoding") => Self::TransferEncoding,
            17 if is("x-forwarded-proto") => Self::Claim,
            _ if name.contains(&b'_') => Self::of_underscored(name),
            _ => Self::Other,
        }
    }

    /// To programs with a CGI-like view of headers `X_Real_IP` and `X-Real-IP`
    /// are the same field, so what is replaced under one name must not come in
    /// under the other.
    fn of_underscored(name: &[u8]) -> Self {
        let dashed: Vec<u8> = name.iter().map(|&byte| if byte == b'_' { b'-' } else { byte }).collect();
        match Self::of(&dashed) {
            Self::Other => Self::Other,
            _ => Self::Hop,
        }
    }
}

/// What `Connection` says (RFC 9110, section 7.6.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConnectionOptions {
    pub close: bool,
    pub keep_alive: bool,
    pub upgrade: bool,
    /// Names fields that end at this connection.
    pub nominates: bool,
}

impl ConnectionOptions {
    pub(crate) fn read(&mut self, value: &[u8]) {
        for option in syntax::list(value) {
            if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                self.upgrade = true;
            } else {
                self.nominates = true;
            }
        }
    }
}

/// Does one of the `Connection` fields name this one as ending here? What frames
/// or routes the message cannot be named away.
pub fn is_nominated(head: &[u8], fields: &[Field], field: &Field) -> bool {
    let name = field.name.in_head(head);
    matches!(field.known, Known::Other | Known::ForwardedFor | Known::Claim)
        && fields
            .iter()
            .filter(|other| other.known == Known::Connection)
            .flat_map(|other| syntax::list(other.value.in_head(head)))
            .any(|option| option.eq_ignore_ascii_case(name))
}
