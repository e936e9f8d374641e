//! The head of an HTTP/2 request as the head of an HTTP/1.1 request.
//!
//! Whoever reads HTTP/1.1 must find in it what the client has sent and nothing else (RFC
//! 9113, section 10.3). The `h2` crate has checked names and values by then, and that there
//! are no fields of a connection; the parser of HTTP/1.1 heads checks what comes out here.
//! In between is what neither of them can know.

use balancer_http1::HttpError;
use h2::ext::Protocol;
use http::header::{CONTENT_LENGTH, COOKIE, HOST};
use http::request::Parts;
use http::{HeaderMap, Method};
use shared_protocol::new_request_id;

use crate::text;

/// What a request is to its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestKind {
    /// There is no body.
    Empty,
    /// The body has as many bytes as `content-length` says, which `h2` checks.
    Length,
    /// The body ends with the stream.
    Chunked,
    /// Both ways are open for as long as both ends want (RFC 8441).
    Tunnel,
}

/// Appends the head of `request` to `out`. `has_ended` when there is no body.
///
/// # Errors
/// For a request that HTTP/1.1 cannot carry, or that two readers could understand
/// differently.
pub(crate) fn write_head(
    request: &Parts,
    has_ended: bool,
    out: &mut Vec<u8>,
) -> Result<RequestKind, HttpError> {
    let protocol = request.extensions.get::<Protocol>();
    let kind = match protocol {
        Some(protocol) if protocol.as_str() == "websocket" => RequestKind::Tunnel,
        Some(_) => return Err(UNKNOWN_PROTOCOL),
        None if has_ended => RequestKind::Empty,
        None if request.headers.contains_key(CONTENT_LENGTH) => RequestKind::Length,
        None => RequestKind::Chunked,
    };
    let target = target(request, kind)?;
    let method = if kind == RequestKind::Tunnel { &Method::GET } else { &request.method };
    out.extend_from_slice(method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    write_host(request, out)?;
    write_fields(&request.headers, kind, out)?;
    match kind {
        RequestKind::Empty | RequestKind::Length => {}
        RequestKind::Chunked => text::field(out, b"transfer-encoding", b"chunked"),
        RequestKind::Tunnel => write_upgrade(out),
    }
    out.extend_from_slice(b"\r\n");
    Ok(kind)
}

/// The target in the form that fits the method (RFC 9112, section 3.2): a path, or the
/// asterisk. Others would mean something else in HTTP/1.1.
fn target(request: &Parts, kind: RequestKind) -> Result<&str, HttpError> {
    // Without a path, and refused by its method like any CONNECT.
    if request.method == Method::CONNECT && kind != RequestKind::Tunnel {
        return Ok(request.uri.authority().map_or("*", |authority| authority.as_str()));
    }
    if request.uri.scheme_str().is_some_and(|scheme| !matches!(scheme, "http" | "https")) {
        return Err(HttpError::bad("the scheme is neither http nor https"));
    }
    let path = request.uri.path_and_query().map_or("", |path| path.as_str());
    match path.as_bytes() {
        [b'/', ..] => Ok(path),
        b"*" if request.method == Method::OPTIONS => Ok(path),
        _ => Err(HttpError::bad("the path does not begin with a slash")),
    }
}

/// One host: that of `:authority`, which a `host` field must not contradict (RFC 9113,
/// section 8.3.1).
fn write_host(request: &Parts, out: &mut Vec<u8>) -> Result<(), HttpError> {
    let mut hosts = request.headers.get_all(HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return Err(HttpError::bad("there is more than one host field"));
    }
    let host = host.map(|host| host.as_bytes());
    let authority = request.uri.authority().map(|authority| authority.as_str().as_bytes());
    match (authority, host) {
        (Some(authority), Some(host)) if !authority.eq_ignore_ascii_case(host) => {
            Err(HttpError::bad("the host field and :authority differ"))
        }
        (Some(host), _) | (None, Some(host)) => {
            text::field(out, b"host", host);
            Ok(())
        }
        (None, None) => Ok(()),
    }
}

/// The fields in their order. Pieces of a cookie become one field again (RFC 9113, section
/// 8.2.3).
fn write_fields(fields: &HeaderMap, kind: RequestKind, out: &mut Vec<u8>) -> Result<(), HttpError> {
    let mut has_cookie = false;
    for (name, value) in fields {
        let value = value.as_bytes();
        // RFC 9113, section 8.2.1.
        if matches!(value, [b' ' | b'\t', ..] | [.., b' ' | b'\t']) {
            return Err(HttpError::bad("the value of a field begins or ends with white space"));
        }
        if name == HOST || (kind == RequestKind::Tunnel && is_of_handshake(name.as_str())) {
            continue;
        }
        if name != COOKIE {
            text::field(out, name.as_str().as_bytes(), value);
        } else if !has_cookie {
            has_cookie = true;
            out.extend_from_slice(b"cookie: ");
            for (index, piece) in fields.get_all(COOKIE).iter().enumerate() {
                out.extend_from_slice(if index == 0 { b"" } else { b"; " });
                out.extend_from_slice(piece.as_bytes());
            }
            out.extend_from_slice(b"\r\n");
        }
    }
    Ok(())
}

/// Fields that frame a message, or are part of the handshake that HTTP/2 does not have
/// (RFC 8441, section 5).
fn is_of_handshake(name: &str) -> bool {
    matches!(name, "sec-websocket-key" | "content-length")
}

/// Asks for a WebSocket as in HTTP/1.1 (RFC 6455, section 4.1). Nobody checks the answer to
/// the key: HTTP/2 needs no proof that the other end understands WebSockets.
fn write_upgrade(out: &mut Vec<u8>) {
    text::field(out, b"connection", b"upgrade");
    text::field(out, b"upgrade", b"websocket");
    out.extend_from_slice(b"sec-websocket-key: ");
    // 16 bytes in base64, whose alphabet has the hexadecimal digits as well.
    out.extend_from_slice(&new_request_id()[..21]);
    out.extend_from_slice(b"A==\r\n");
}

const UNKNOWN_PROTOCOL: HttpError =
    HttpError::new(501, "the only protocol that a CONNECT request may ask for is websocket");

#[cfg(test)]
mod tests {
    use http::Request;
    use http::request::Builder;

    use super::*;

    fn written(builder: Builder, has_ended: bool) -> Result<(String, RequestKind), u16> {
        let (parts, ()) = builder.body(()).unwrap().into_parts();
        let mut out = Vec::new();
        let kind = write_head(&parts, has_ended, &mut out).map_err(|error| error.status)?;
        Ok((String::from_utf8(out).unwrap(), kind))
    }

    fn get(uri: &str) -> Builder {
        Request::get(uri)
    }

    #[test]
    fn a_request_becomes_a_head() {
        let (head, kind) = written(get("http://a:1/b?c").header("x-a", "1"), true).unwrap();
        assert_eq!(head, "GET /b?c HTTP/1.1\r\nhost: a:1\r\nx-a: 1\r\n\r\n");
        assert_eq!(kind, RequestKind::Empty);
        let (head, kind) =
            written(get("/").header("host", "a").header("content-length", "3"), false).unwrap();
        assert_eq!(head, "GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\n");
        assert_eq!(kind, RequestKind::Length);
        let (head, kind) = written(Request::put("http://a/"), false).unwrap();
        assert_eq!(head, "PUT / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
        assert_eq!(kind, RequestKind::Chunked);
    }

    #[test]
    fn pieces_of_a_cookie_become_one() {
        let request = get("http://a/").header("cookie", "a=1").header("x", "y").header("cookie", "b=2");
        let (head, _) = written(request, true).unwrap();
        assert_eq!(head, "GET / HTTP/1.1\r\nhost: a\r\ncookie: a=1; b=2\r\nx: y\r\n\r\n");
    }

    #[test]
    fn what_two_readers_could_understand_differently_is_refused() {
        assert_eq!(written(get("http://a/").header("host", "b"), true), Err(400));
        assert_eq!(written(get("http://a/").header("host", "a").header("host", "a"), true), Err(400));
        assert!(written(get("http://a/").header("host", "A"), true).is_ok());
        assert_eq!(written(get("http://a/").header("x", " y"), true), Err(400));
        assert_eq!(written(get("http://a/").header("x", "y\t"), true), Err(400));
        assert_eq!(written(get("*"), true), Err(400));
        assert!(written(Request::options("*").header("host", "a"), true).is_ok());
        assert_eq!(written(get("ftp://a/"), true), Err(400));
    }

    #[test]
    fn a_websocket_is_asked_for_as_in_http_1() {
        let request = || Request::connect("http://a/chat").header("sec-websocket-version", "13");
        let (head, kind) = written(request().extension(Protocol::from_static("websocket")), false).unwrap();
        assert_eq!(kind, RequestKind::Tunnel);
        assert!(head.starts_with("GET /chat HTTP/1.1\r\nhost: a\r\nsec-websocket-version: 13\r\n"), "{head}");
        let key = head.split("sec-websocket-key: ").nth(1).unwrap();
        assert_eq!((key.len(), &key[21..]), (28, "A==\r\n\r\n"), "{head}");
        assert_eq!(written(request().extension(Protocol::from_static("connect-udp")), false), Err(501));
    }
}
