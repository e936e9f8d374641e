//! Heads of requests (RFC 9112, sections 2 to 6).

use crate::connection::ConnectionOptions;
use crate::error::HttpError;
use crate::field::{self, FieldBuffer, Fields};
use crate::framing::Framing;
use crate::kind::CustomField;
use crate::line::first_line;
use crate::scan;
use crate::semantics::Semantics;
use crate::syntax::is_token;
use crate::target::{self, Target};

/// The head of a request, as a view of its bytes.
#[derive(Debug)]
pub struct RequestHead<'h, C> {
    pub method: &'h [u8],
    /// As the client wrote it.
    pub target: &'h [u8],
    /// The part of the target that is passed on.
    pub resource: Target<'h>,
    /// The version is HTTP/1.1, or a higher minor version.
    pub is_1_1: bool,
    pub fields: Fields<'h, C>,
    pub host: Option<&'h [u8]>,
    pub framing: Framing,
    /// The client wants to upgrade and may. The `Upgrade` fields name the protocols.
    pub upgrades: bool,
    pub expects_continue: bool,
    /// The client takes trailers behind the response (RFC 9110, section 10.1.4).
    pub takes_trailers: bool,
    connection: ConnectionOptions,
}

impl<'h, C: CustomField> RequestHead<'h, C> {
    /// Reads `head`, whose end [`scan::Scanner`] has found. `buffer` lends the memory
    /// for its fields.
    ///
    /// # Errors
    /// For everything that is not exactly one valid HTTP/1.x request.
    pub fn parse(head: &'h [u8], buffer: &'h mut FieldBuffer<C>) -> Result<Self, HttpError> {
        let (line, next) = first_line(head);
        let (method, target, is_1_1) = request_line(line)?;
        let (fields, semantics) = field::read(head, next, buffer)?;
        let host = semantics.host(is_1_1)?;
        let resource = target::parse(target, method, host)?;
        let framing = semantics.framing(is_1_1)?;
        if method == b"TRACE" {
            return Err(HttpError::new(405, "TRACE would show headers that are not the client's"));
        }
        Ok(Self {
            method,
            target,
            resource,
            is_1_1,
            fields,
            host,
            framing,
            connection: semantics.connection,
            takes_trailers: semantics.takes_trailers && is_1_1,
            upgrades: upgrades(&semantics, is_1_1, framing),
            expects_continue: expects_continue(&semantics, is_1_1)?,
        })
    }

    /// Does `Connection` name fields? They end here, wherever they are in the message.
    pub fn nominates(&self) -> bool {
        self.connection.nominates
    }

    /// May the client send another request on this connection (RFC 9112, section 9.3)?
    pub fn keeps_alive(&self) -> bool {
        !self.connection.close && (self.is_1_1 || self.connection.keep_alive)
    }
}

/// Method, target, and whether the version is 1.1 or higher.
fn request_line(line: &[u8]) -> Result<(&[u8], &[u8], bool), HttpError> {
    const NO_LINE: HttpError = scan::NO_REQUEST_LINE;
    let first = line.iter().position(|&byte| byte == b' ').ok_or(NO_LINE)?;
    let last = line.iter().rposition(|&byte| byte == b' ').filter(|&last| last > first).ok_or(NO_LINE)?;
    let (method, target, version) = (&line[..first], &line[first + 1..last], &line[last + 1..]);
    if !is_token(method) || target.contains(&b' ') || target.is_empty() {
        return Err(NO_LINE);
    }
    if method.len() > scan::MAX_METHOD {
        return Err(scan::METHOD_UNKNOWN);
    }
    if target.len() > scan::MAX_TARGET {
        return Err(scan::TARGET_TOO_LONG);
    }
    let is_1_1 = match version {
        b"HTTP/1.0" => false,
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1'..=b'9'] => true,
        [b'H', b'T', b'T', b'P', b'/', b'0' | b'2'..=b'9', b'.', b'0'..=b'9'] => {
            return Err(HttpError::new(505, "the balancer speaks HTTP/1.1 and HTTP/1.0"));
        }
        _ => return Err(NO_LINE),
    };
    Ok((method, target, is_1_1))
}

/// An upgrade counts only when `Connection` names it (RFC 9110, section 7.8) and when
/// no body stands between. Requests that follow an upgrade to h2c would be checked by
/// nobody here, so that one never counts.
fn upgrades(semantics: &Semantics<'_>, is_1_1: bool, framing: Framing) -> bool {
    let counts = is_1_1 && semantics.connection.upgrade && framing == Framing::Empty;
    semantics.has_upgrade && counts && !semantics.offers_h2c
}

/// RFC 9110, section 10.1.1.
fn expects_continue(semantics: &Semantics<'_>, is_1_1: bool) -> Result<bool, HttpError> {
    if semantics.has_unknown_expectation {
        return Err(HttpError::new(417, "the only expectation that is known is 100-continue"));
    }
    Ok(semantics.expects_continue && is_1_1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::tests::Custom;

    /// Calls `check` with the parsed head, or gives the status of the refusal.
    fn read<T>(text: &str, check: impl Fn(RequestHead<'_, Custom>) -> T) -> Result<T, u16> {
        let mut buffer = FieldBuffer::default();
        RequestHead::parse(text.as_bytes(), &mut buffer).map(check).map_err(|error| error.status)
    }

    fn with<T>(fields: &str, check: impl Fn(RequestHead<'_, Custom>) -> T) -> Result<T, u16> {
        read(&format!("POST /a HTTP/1.1\r\nHost: a\r\n{fields}\r\n"), check)
    }

    fn framing(fields: &str) -> Result<Framing, u16> {
        with(fields, |request| request.framing)
    }

    fn keeps_alive(text: &str) -> bool {
        read(text, |request| request.keeps_alive()).unwrap()
    }

    fn upgrades(fields: &str) -> bool {
        with(fields, |request| request.upgrades).unwrap()
    }

    #[test]
    fn a_plain_request_is_read() {
        let head = "GET /a?b HTTP/1.1\r\nHost:  a \r\nX-Empty:\r\nx-custom: i\r\n\r\n";
        read(head, |request| {
            assert_eq!((request.method, request.target), (b"GET".as_slice(), b"/a?b".as_slice()));
            assert_eq!(request.host, Some(b"a".as_slice()));
            assert_eq!(request.fields.last(Custom), Some(b"i".as_slice()));
            assert_eq!(request.fields.first_named(b"x-empty"), Some(b"".as_slice()));
            assert!(request.is_1_1 && request.keeps_alive());
            assert_eq!(request.framing, Framing::Empty);
        })
        .unwrap();
    }

    #[test]
    fn bodies_are_framed_in_one_way_only() {
        assert_eq!(framing("Content-Length: 3\r\n"), Ok(Framing::Length(3)));
        assert_eq!(framing("Transfer-Encoding: Chunked\r\n"), Ok(Framing::Chunked));
        for bad in [
            "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: 3\r\nContent-Length: 3\r\n",
            "Content-Length: 3, 3\r\n",
            "Content-Length: +3\r\n",
            "Content-Length:\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked, identity\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: xchunked\r\n",
            "Transfer-Encoding:\r\n",
        ] {
            assert_eq!(framing(bad), Err(400), "{bad}");
        }
        assert!(read("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", |_| ()).is_err());
    }

    #[test]
    fn persistence_follows_version_and_connection() {
        assert!(!keeps_alive("GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n"));
        assert!(!keeps_alive("GET / HTTP/1.0\r\n\r\n"));
        assert!(keeps_alive("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
    }

    #[test]
    fn an_upgrade_counts_when_connection_names_it_and_there_is_no_body() {
        assert!(upgrades("Connection: Upgrade\r\nUpgrade: websocket\r\n"));
        assert!(!upgrades("Upgrade: websocket\r\n"));
        assert!(!upgrades("Connection: upgrade\r\nUpgrade: h2c\r\n"));
        // Several lines are one list (RFC 9110, section 5.3).
        assert!(!upgrades("Connection: upgrade\r\nUpgrade: websocket, H2C\r\nUpgrade: websocket\r\n"));
        assert!(upgrades("Connection: upgrade\r\nUpgrade: a\r\nUpgrade: websocket\r\n"));
        assert!(!upgrades("Connection: upgrade\r\nUpgrade: a\r\nContent-Length: 1\r\n"));
    }

    #[test]
    fn request_lines_have_one_form() {
        for (line, status) in [
            ("GET  / HTTP/1.1", 400),
            ("GET /", 400),
            ("GET / HTTP/1.1 ", 400),
            (" GET / HTTP/1.1", 400),
            ("GET / http/1.1", 400),
            ("G@T / HTTP/1.1", 400),
            ("GET / HTTP/1.10", 400),
            ("GET\t/ HTTP/1.1", 400),
            ("PRI * HTTP/2.0", 505),
            ("GET / HTTP/0.9", 505),
            ("CONNECT a:1 HTTP/1.1", 405),
            ("", 400),
        ] {
            assert_eq!(read(&format!("{line}\r\nHost: a\r\n\r\n"), |_| ()), Err(status), "{line}");
        }
        let long = "M".repeat(33);
        assert_eq!(read(&format!("{long} / HTTP/1.1\r\nHost: a\r\n\r\n"), |_| ()), Err(501));
    }
}
