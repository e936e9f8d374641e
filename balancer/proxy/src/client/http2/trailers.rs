//! Trailers (RFC 9113, section 8.1) between HTTP/2 and the end of a chunked body.

use balancer_http1::trailers;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::field::ProxyField;

/// The end of a chunked body with these trailers. What may not be passed on is dropped
/// further on, as for any client.
pub(super) fn write(fields: HeaderMap) -> Bytes {
    let mut out = b"0\r\n".to_vec();
    for (name, value) in &fields {
        for part in [name.as_str().as_bytes(), b":", value.as_bytes(), b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
    out.extend_from_slice(b"\r\n");
    out.into()
}

/// Those in `lines` that may be passed on; `None` when there are none.
pub(super) fn read(lines: &[u8]) -> Option<HeaderMap> {
    let mut fields = HeaderMap::new();
    for (name, value) in trailers::allowed::<ProxyField>(lines) {
        let name = HeaderName::from_bytes(name).ok()?;
        fields.try_append(name, HeaderValue::from_bytes(value).ok()?).ok()?;
    }
    (!fields.is_empty()).then_some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways() {
        let fields = read(b"X-A: 1 \r\nHost: b\r\nx-a:\xe9\r\ncookie:c\r\n").unwrap();
        assert_eq!(write(fields), b"0\r\nx-a:1\r\nx-a:\xe9\r\n\r\n".as_slice());
        assert_eq!(read(b"Host: b\r\n"), None);
        assert_eq!(write(HeaderMap::new()), b"0\r\n\r\n".as_slice());
    }
}
