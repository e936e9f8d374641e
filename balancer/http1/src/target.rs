//! RequestHead targets: which resource of which host is meant (RFC 9112, section 3.2).

use super::{HttpError, Span, syntax};

/// What of the target is passed on: always path and query, or `*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Where path and query stand; to be preceded by `/` when `rootless`.
    pub path: Span,
    pub rootless: bool,
}

/// Checks the target at `span` of `head` against the method and the `Host` field.
///
/// # Errors
/// For a form that the method does not take, and for an authority that is not
/// the one in `Host`: servers behind would differ on which of them counts.
pub fn parse(head: &[u8], span: Span, method: &[u8], host: Option<&[u8]>) -> Result<Target, HttpError> {
    let target = span.in_head(head);
    if method == b"CONNECT" {
        return Err(HttpError::new(405, "this is no forward proxy: CONNECT is not supported"));
    }
    if !syntax::is_target(target) {
        return Err(HttpError::bad("the request target has characters that must be percent-encoded"));
    }
    match target {
        [b'/', ..] => Ok(Target { path: span, rootless: false }),
        b"*" if method == b"OPTIONS" => Ok(Target { path: span, rootless: false }),
        _ => absolute(head, span, host),
    }
}

fn absolute(head: &[u8], span: Span, host: Option<&[u8]>) -> Result<Target, HttpError> {
    const SCHEME: &[u8] = b"http://";
    let target = span.in_head(head);
    let Some((scheme, rest)) = target.split_at_checked(SCHEME.len()) else { return Err(NO_FORM) };
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return Err(NO_FORM);
    }
    let length = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    let authority = &rest[..length];
    if !syntax::is_host(authority) {
        return Err(HttpError::bad("the request target names no valid host"));
    }
    if host.is_some_and(|host| !same(authority, host)) {
        return Err(HttpError::bad("the host in the request target is not the one in the Host field"));
    }
    let start = span.start as usize + SCHEME.len() + length;
    let path = Span::of(start, span.end as usize);
    Ok(Target { path, rootless: !path.in_head(head).starts_with(b"/") })
}

const NO_FORM: HttpError =
    HttpError::bad("the request target is neither a path that begins with / nor an http:// URL");

fn same(left: &[u8], right: &[u8]) -> bool {
    let plain = |host: &'_ [u8]| host.strip_suffix(b":80").unwrap_or(host).to_ascii_lowercase();
    plain(left) == plain(right)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(target: &str, method: &str, host: Option<&str>) -> Result<String, u16> {
        let bytes = target.as_bytes();
        let found = parse(bytes, Span::of(0, bytes.len()), method.as_bytes(), host.map(str::as_bytes));
        let target = found.map_err(|error| error.status)?;
        let path = String::from_utf8_lossy(target.path.in_head(bytes)).into_owned();
        Ok(if target.rootless { format!("/{path}") } else { path })
    }

    #[test]
    fn every_form_becomes_a_path() {
        assert_eq!(path("/a?b", "GET", Some("x")), Ok("/a?b".to_owned()));
        assert_eq!(path("http://x/a?b", "GET", Some("X")), Ok("/a?b".to_owned()));
        assert_eq!(path("HTTP://x:80/a", "GET", Some("x")), Ok("/a".to_owned()));
        assert_eq!(path("http://x", "GET", Some("x")), Ok("/".to_owned()));
        assert_eq!(path("http://x?q", "GET", None), Ok("/?q".to_owned()));
        assert_eq!(path("*", "OPTIONS", Some("x")), Ok("*".to_owned()));
    }

    #[test]
    fn other_forms_are_refused() {
        for (target, method) in [
            ("a", "GET"),
            ("*", "GET"),
            ("x:80", "GET"),
            ("https://x/", "GET"),
            ("ftp://x/", "GET"),
            ("http://", "GET"),
            ("http:///a", "GET"),
            ("http://u@x/", "GET"),
            ("http://y/", "GET"),
            ("/a#b", "GET"),
        ] {
            assert_eq!(path(target, method, Some("x")), Err(400), "{target}");
        }
        assert_eq!(path("x:443", "CONNECT", Some("x")), Err(405));
    }
}
