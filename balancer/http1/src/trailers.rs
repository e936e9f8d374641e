//! Trailer fields (RFC 9110, section 6.5), and which of them are passed on.
//!
//! Programs merge trailers into the fields of the head, and may have decided by then. So a
//! field that says how a message is framed, routed, authenticated or read, or by which a
//! recipient would take it for another, is not passed on from there (section 6.5.1).

use crate::chunked::LAST;
use crate::kind::{CustomField, FieldKind};
use crate::syntax::trim;

/// What must not come behind a body, in order. Fields that have a meaning here, and those of
/// the caller, are not listed: they never do.
const FORBIDDEN: &[&str] = &[
    // How to carry out the request (RFC 9110, sections 10.1, 12.5 and 14.2).
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "clear-site-data",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-location",
    "content-range",
    "content-type",
    "cookie",
    "cookie2",
    "date",
    "early-data",
    "expires",
    "from",
    "http2-settings",
    "location",
    "max-forwards",
    "origin",
    "pragma",
    "prefer",
    "priority",
    "range",
    "referer",
    "refresh",
    "retry-after",
    "server",
    "set-cookie",
    "set-cookie2",
    "status",
    "strict-transport-security",
    "user-agent",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    // What frameworks read in place of the method, the target or the client's address.
    "client-ip",
    "remote-addr",
    "true-client-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
];

/// The same, by how names begin.
const FORBIDDEN_PREFIXES: &[&str] = &[
    "access-control-",
    "cf-",
    "content-security-policy",
    "cross-origin-",
    "if-",
    "proxy-",
    "sec-",
    "x-accel-",
    "x-auth-",
    "x-authenticated-",
    "x-forwarded-",
    "x-original-",
    "x-real-",
    "x-remote-",
    "x-sendfile",
    "x-ssl-",
];

/// A longer name is of no field that is known.
const MAX_NAME: usize = 64;

/// The fields of `lines`, which [`Decoder::trailers`](crate::chunked::Decoder::trailers) has
/// checked, that may be passed on: names as they were sent, values without white space around.
pub fn allowed<C: CustomField>(lines: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    lines.split(|&byte| byte == b'\n').filter_map(|line| {
        let line = line.strip_suffix(b"\r")?;
        let colon = line.iter().position(|&byte| byte == b':')?;
        let (name, value) = (&line[..colon], trim(&line[colon + 1..]));
        is_allowed::<C>(name).then_some((name, value))
    })
}

/// Passes the end of a chunked body with those of the trailers in `lines` that may be passed
/// on to `out`, in order. It is no longer than what was read, but for a space in each line.
pub fn end_with<C: CustomField>(lines: &[u8], mut out: impl FnMut(&[u8])) {
    if lines.is_empty() {
        return out(LAST);
    }
    out(b"0\r\n");
    for (name, value) in allowed::<C>(lines) {
        for part in [name, b":", value, b"\r\n"] {
            out(part);
        }
    }
    out(b"\r\n");
}

/// May the field with this name be passed on behind a body?
pub fn is_allowed<C: CustomField>(name: &[u8]) -> bool {
    let mut buffer = [0; MAX_NAME];
    let Some(known) = buffer.get_mut(..name.len()) else { return true };
    // To programs with a CGI-like view of fields an underscore is a dash.
    for (known, &byte) in known.iter_mut().zip(name) {
        *known = if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    }
    let known = &*known;
    FieldKind::<C>::of(known) == FieldKind::Other
        && !FORBIDDEN.iter().any(|forbidden| known == forbidden.as_bytes())
        && !FORBIDDEN_PREFIXES.iter().any(|prefix| known.starts_with(prefix.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::tests::Custom;

    fn ended(lines: &str) -> String {
        let mut out = Vec::new();
        end_with::<Custom>(lines.as_bytes(), |part| out.extend_from_slice(part));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn fields_that_mean_something_to_a_head_are_not_passed_on() {
        for name in [
            "Content-Length",
            "transfer-encoding",
            "HOST",
            "Connection",
            "TE",
            "trailer",
            "upgrade",
            "Keep-Alive",
            "Expect",
            "authorization",
            "Cookie",
            "set_cookie",
            "Content-Type",
            "content_encoding",
            "If-None-Match",
            "Cache-Control",
            "X-Forwarded-For",
            "x_forwarded_anything",
            "X-Custom",
            "x_custom",
            "X-HTTP-Method-Override",
            "proxy-authorization",
            "Sec-WebSocket-Key",
            "Range",
        ] {
            assert!(!is_allowed::<Custom>(name.as_bytes()), "{name}");
            assert_eq!(ended(&format!("{name}: 1\r\n")), "0\r\n\r\n");
        }
    }

    #[test]
    fn others_are() {
        let long = "x-".repeat(100);
        for name in ["grpc-status", "Digest", "Content-Digest", "Content-MD5", "ETag", "server-timing", &long]
        {
            assert!(is_allowed::<Custom>(name.as_bytes()), "{name}");
        }
        assert_eq!(ended(""), "0\r\n\r\n");
        assert_eq!(ended("A:  b \r\nCookie: c\r\nd:\r\n"), "0\r\nA:b\r\nd:\r\n\r\n");
    }
}
