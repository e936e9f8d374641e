//! RequestHead heads (RFC 9112, sections 2 to 6), read in one pass and kept as
//! offsets.

use super::syntax::{self, is_host, is_token, is_value, trim};
use super::target::{self, Target};
use super::{ConnectionOptions, Field, Framing, HttpError, Known, Span, scan};

/// Longer methods than this are of no protocol that exists.
const MAX_METHOD: usize = 32;

#[derive(Debug)]
pub struct RequestHead {
    pub method: Span,
    /// As the client wrote it.
    pub target: Span,
    /// What is passed on of it.
    pub resource: Target,
    /// HTTP/1.1, or the highest minor version that we know of.
    pub is_1_1: bool,
    pub fields: Vec<Field>,
    pub host: Option<Span>,
    pub framing: Framing,
    pub connection: ConnectionOptions,
    pub upgrade: Option<Span>,
    pub expects_continue: bool,
    pub id: Option<Span>,
}

impl RequestHead {
    /// Reads `head`, which [`scan::Scanner`] has found to be one. `fields` lends
    /// its memory.
    ///
    /// # Errors
    /// For everything that is not exactly one valid HTTP/1.x request.
    pub fn parse(head: &[u8], mut fields: Vec<Field>) -> Result<Self, HttpError> {
        let (line, rest) = split_line(head, 0);
        let (method, target, is_1_1) = request_line(head, line)?;
        fields.clear();
        read_fields(head, rest, &mut fields)?;
        let read = Read::of(head, &fields)?;
        let host = match read.hosts {
            (Some(host), 1) if is_host(host.in_head(head)) => Some(host),
            (Some(_), 1) => return Err(HttpError::bad("the Host field names no valid host")),
            (None, _) if is_1_1 => return Err(HttpError::bad("an HTTP/1.1 request needs a Host field")),
            (None, _) => None,
            _ => return Err(HttpError::bad("a request has exactly one Host field")),
        };
        let resource =
            target::parse(head, target, method.in_head(head), host.map(|host| host.in_head(head)))?;
        let framing = read.framing(is_1_1)?;
        if method.in_head(head) == b"TRACE" {
            return Err(HttpError::new(405, "TRACE would show headers that are not the client's"));
        }
        let upgrade = match read.upgrade {
            // What may follow an upgrade to h2c are requests that nobody here checks.
            Some(upgrade) if is_1_1 && read.connection.upgrade && framing == Framing::Empty => {
                let protocols = || syntax::list(upgrade.in_head(head));
                let h2c = protocols().any(|protocol| protocol.eq_ignore_ascii_case(b"h2c"));
                (!h2c).then_some(upgrade)
            }
            _ => None,
        };
        let expects_continue = match read.expect {
            None => false,
            Some(expect) if expect.in_head(head).eq_ignore_ascii_case(b"100-continue") => is_1_1,
            Some(_) => return Err(HttpError::new(417, "the only expectation that is known is 100-continue")),
        };
        Ok(Self {
            method,
            target,
            resource,
            is_1_1,
            fields,
            host,
            framing,
            connection: read.connection,
            upgrade,
            expects_continue,
            id: read.id,
        })
    }

    /// May the client send another request on this connection (RFC 9112, section 9.3)?
    pub fn keeps_alive(&self) -> bool {
        !self.connection.close && (self.is_1_1 || self.connection.keep_alive)
    }
}

/// The line at `start` of `head` without its end, and where the next begins.
pub(super) fn split_line(head: &[u8], start: usize) -> ((usize, usize), usize) {
    let length = head[start..].iter().position(|&byte| byte == b'\n').unwrap_or(head.len() - start);
    let end = start + length;
    ((start, end.saturating_sub(1).max(start)), (end + 1).min(head.len()))
}

fn request_line(head: &[u8], (start, end): (usize, usize)) -> Result<(Span, Span, bool), HttpError> {
    const NO_LINE: HttpError =
        HttpError::bad("the request line is not a method, a target and a version with single spaces between");
    let line = &head[start..end];
    let first = line.iter().position(|&byte| byte == b' ').ok_or(NO_LINE)?;
    let last = line.iter().rposition(|&byte| byte == b' ').filter(|&last| last > first).ok_or(NO_LINE)?;
    let (method, target, version) = (&line[..first], &line[first + 1..last], &line[last + 1..]);
    if !is_token(method) || target.contains(&b' ') || target.is_empty() {
        return Err(NO_LINE);
    }
    if method.len() > MAX_METHOD {
        return Err(HttpError::new(501, "the request's method is not known"));
    }
    if target.len() > scan::MAX_TARGET {
        return Err(scan::TOO_LONG);
    }
    let is_1_1 = match version {
        b"HTTP/1.0" => false,
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1'..=b'9'] => true,
        [b'H', b'T', b'T', b'P', b'/', b'0' | b'2'..=b'9', b'.', b'0'..=b'9'] => {
            return Err(HttpError::new(505, "the balancer speaks HTTP/1.1 and HTTP/1.0"));
        }
        _ => return Err(NO_LINE),
    };
    let target = Span::of(start + first + 1, start + last);
    Ok((Span::of(start, start + first), target, is_1_1))
}

/// Reads the field lines from `at` up to the empty one.
pub(super) fn read_fields(head: &[u8], mut at: usize, fields: &mut Vec<Field>) -> Result<(), HttpError> {
    loop {
        let ((start, end), next) = split_line(head, at);
        let line = &head[start..end];
        if line.is_empty() {
            return Ok(());
        }
        if matches!(line[0], b' ' | b'\t') {
            return Err(HttpError::bad("a field is folded over two lines"));
        }
        let colon = line
            .iter()
            .position(|&byte| byte == b':')
            .ok_or(HttpError::bad("a line of the head has no colon and is no field"))?;
        if !is_token(&line[..colon]) {
            return Err(HttpError::bad(
                "a field's name is empty or has a space or another character it must not",
            ));
        }
        let raw = &line[colon + 1..];
        if !is_value(raw) {
            return Err(HttpError::bad("a field's value has a control character"));
        }
        let value = trim(raw);
        let lead =
            raw.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count().min(raw.len() - value.len());
        let from = start + colon + 1 + lead;
        let known = Known::of(&line[..colon]);
        if fields.len() == scan::MAX_FIELDS {
            return Err(scan::TOO_LARGE);
        }
        fields.push(Field {
            name: Span::of(start, start + colon),
            value: Span::of(from, from + value.len()),
            known,
        });
        at = next;
    }
}

/// What the fields say of the message and its connection.
#[derive(Default)]
pub(super) struct Read {
    hosts: (Option<Span>, usize),
    length: Option<u64>,
    codings: usize,
    chunked: bool,
    pub(super) connection: ConnectionOptions,
    pub(super) upgrade: Option<Span>,
    expect: Option<Span>,
    id: Option<Span>,
}

impl Read {
    pub(super) fn of(head: &[u8], fields: &[Field]) -> Result<Self, HttpError> {
        let mut read = Self::default();
        for field in fields {
            let value = || field.value.in_head(head);
            match field.known {
                Known::Host => read.hosts = (Some(field.value), read.hosts.1 + 1),
                Known::ContentLength => {
                    let length = syntax::content_length(value())
                        .ok_or(HttpError::bad("Content-Length is not one whole number"))?;
                    if read.length.replace(length).is_some() {
                        return Err(HttpError::bad("there is more than one Content-Length"));
                    }
                }
                Known::TransferEncoding => {
                    read.codings += 1;
                    read.chunked = value().eq_ignore_ascii_case(b"chunked");
                }
                Known::Connection => read.connection.read(value()),
                Known::Upgrade => read.upgrade = Some(field.value),
                Known::Expect => read.expect = Some(field.value),
                Known::RequestId => read.id = Some(field.value),
                _ => {}
            }
        }
        Ok(read)
    }

    pub(super) fn framing(&self, is_1_1: bool) -> Result<Framing, HttpError> {
        match (self.codings, self.length) {
            (0, None) => Ok(Framing::Empty),
            (0, Some(0)) => Ok(Framing::Empty),
            (0, Some(length)) => Ok(Framing::Length(length)),
            (_, Some(_)) => Err(HttpError::bad("Content-Length and Transfer-Encoding contradict each other")),
            (1, None) if self.chunked && is_1_1 => Ok(Framing::Chunked),
            (1, None) if self.chunked => Err(HttpError::bad("HTTP/1.0 has no Transfer-Encoding")),
            _ => Err(HttpError::bad("the only Transfer-Encoding that is taken is chunked")),
        }
    }

    pub(super) fn length(&self) -> Option<u64> {
        self.length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<RequestHead, (u16, String)> {
        RequestHead::parse(text.as_bytes(), vec![]).map_err(|error| (error.status, error.detail.into_owned()))
    }

    fn with(fields: &str) -> Result<RequestHead, (u16, String)> {
        parse(&format!("POST /a HTTP/1.1\r\nHost: a\r\n{fields}\r\n"))
    }

    #[test]
    fn a_plain_request_is_read() {
        let head = "GET /a?b HTTP/1.1\r\nHost:  a \r\nX-Empty:\r\nx-request-id: i\r\n\r\n";
        let request = parse(head).unwrap();
        let text = |span: Span| std::str::from_utf8(span.in_head(head.as_bytes())).unwrap();
        assert_eq!((text(request.method), text(request.target)), ("GET", "/a?b"));
        assert_eq!(text(request.host.unwrap()), "a");
        assert_eq!(request.id.map(text), Some("i"));
        assert_eq!(text(request.fields[1].value), "");
        assert!(request.is_1_1 && request.keeps_alive());
        assert_eq!(request.framing, Framing::Empty);
    }

    #[test]
    fn bodies_are_framed_in_one_way_only() {
        assert_eq!(with("Content-Length: 3\r\n").unwrap().framing, Framing::Length(3));
        assert_eq!(with("Transfer-Encoding: Chunked\r\n").unwrap().framing, Framing::Chunked);
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
            assert_eq!(with(bad).unwrap_err().0, 400, "{bad}");
        }
        assert!(parse("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n").is_err());
    }

    #[test]
    fn persistence_follows_version_and_connection() {
        assert!(!with("Connection: x, Close\r\n").unwrap().keeps_alive());
        assert!(!parse("GET / HTTP/1.0\r\n\r\n").unwrap().keeps_alive());
        assert!(parse("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").unwrap().keeps_alive());
    }

    #[test]
    fn an_upgrade_counts_when_connection_names_it_and_there_is_no_body() {
        assert!(with("Connection: Upgrade\r\nUpgrade: websocket\r\n").unwrap().upgrade.is_some());
        assert!(with("Upgrade: websocket\r\n").unwrap().upgrade.is_none());
        assert!(with("Connection: upgrade\r\nUpgrade: h2c\r\n").unwrap().upgrade.is_none());
        assert!(
            with("Connection: upgrade\r\nUpgrade: a\r\nContent-Length: 1\r\n").unwrap().upgrade.is_none()
        );
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
            assert_eq!(parse(&format!("{line}\r\nHost: a\r\n\r\n")).unwrap_err().0, status, "{line}");
        }
        let long = "M".repeat(33);
        assert_eq!(parse(&format!("{long} / HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap_err().0, 501);
    }
}
