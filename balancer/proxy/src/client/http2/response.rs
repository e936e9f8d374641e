//! The head of a response, as the balancer writes it for HTTP/1.1, as the head of an HTTP/2
//! response.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

/// The head of a response.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) message: Response<()>,
    /// Its length in bytes as HTTP/1.1.
    pub(super) length: usize,
    /// What `content-length` says.
    pub(super) content_length: Option<u64>,
}

/// Reads the head at the beginning of `bytes`; `None` if it is not whole, or no head that
/// the balancer writes.
pub(super) fn read_head(bytes: &[u8]) -> Option<Head> {
    let length = bytes.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
    // One piece of memory for the values of all fields.
    let head = Bytes::copy_from_slice(&bytes[..length - 2]);
    let mut lines = head.split_inclusive(|&byte| byte == b'\n').map(|line| &line[..line.len() - 2]);
    let status = lines.next()?.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
    let mut fields = HeaderMap::with_capacity(16);
    let mut content_length = None;
    for line in lines {
        let colon = line.iter().position(|&byte| byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        let value = line[colon + 1..].trim_ascii();
        if is_of_connection(&name) {
            continue;
        }
        if name == CONTENT_LENGTH {
            content_length = std::str::from_utf8(value).ok()?.parse().ok();
        }
        fields.try_append(name, HeaderValue::from_maybe_shared(head.slice_ref(value)).ok()?).ok()?;
    }
    let mut message = Response::new(());
    *message.status_mut() = StatusCode::from_bytes(status).ok()?;
    *message.headers_mut() = fields;
    Some(Head { message, length, content_length })
}

/// Fields that HTTP/2 does not have (RFC 9113, section 8.2.2).
fn is_of_connection(name: &HeaderName) -> bool {
    [CONNECTION, TRANSFER_ENCODING, UPGRADE].contains(name)
        || matches!(name.as_str(), "keep-alive" | "proxy-connection")
}

/// Makes the acceptance of a WebSocket of what says so in HTTP/1.1 (RFC 8441, section 5).
/// Any other success would be taken for one.
pub(super) fn accept_tunnel(head: &mut Head) {
    let status = head.message.status();
    if status == StatusCode::SWITCHING_PROTOCOLS {
        *head.message.status_mut() = StatusCode::OK;
        head.message.headers_mut().remove("sec-websocket-accept");
    } else if status.is_success() {
        *head.message.status_mut() = StatusCode::BAD_GATEWAY;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_without_what_is_of_the_connection() {
        let text = b"HTTP/1.1 404 Not Found\r\nX-A:  1\r\nContent-Length: 3\r\nconnection: close\r\n\
            Keep-Alive: timeout=5\r\nTransfer-Encoding: chunked\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\nbody";
        let head = read_head(text).unwrap();
        assert_eq!((head.length, head.content_length), (text.len() - 4, Some(3)));
        assert_eq!(head.message.status(), 404);
        let fields: Vec<_> = head
            .message
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        assert_eq!(fields, [("x-a", "1"), ("content-length", "3"), ("set-cookie", "a"), ("set-cookie", "b")]);
        assert!(read_head(&text[..40]).is_none());
    }

    #[test]
    fn only_an_upgrade_is_an_acceptance() {
        let status = |text: &str| {
            let mut head = read_head(format!("HTTP/1.1 {text}\r\n\r\n").as_bytes()).unwrap();
            accept_tunnel(&mut head);
            head.message.status().as_u16()
        };
        assert_eq!(status("101 Switching Protocols\r\nSec-WebSocket-Accept: x\r\nUpgrade: websocket"), 200);
        assert_eq!((status("200 OK"), status("403 Forbidden"), status("302")), (502, 403, 302));
    }
}
