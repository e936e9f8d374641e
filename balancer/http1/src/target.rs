//! Request targets: which resource of which host is meant (RFC 9112, section 3.2).

use crate::error::HttpError;
use crate::syntax;

/// The part of a target that is passed on: always path and query, or `*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target<'h> {
    /// Path and query; to be preceded by `/` when `rootless`.
    pub path: &'h [u8],
    pub rootless: bool,
}

/// Checks `target` against the method and the `Host` field.
///
/// # Errors
/// For a form that the method does not take, and for an authority that is not
/// the one in `Host`: servers behind would differ on which of them counts.
pub(crate) fn parse<'h>(
    target: &'h [u8],
    method: &[u8],
    host: Option<&[u8]>,
) -> Result<Target<'h>, HttpError> {
    if method == b"CONNECT" {
        return Err(HttpError::new(405, "this is no forward proxy: CONNECT is not supported"));
    }
    if !syntax::is_target(target) {
        return Err(HttpError::bad("the request target has characters that must be percent-encoded"));
    }
    match target {
        [b'/', ..] => Ok(Target { path: target, rootless: false }),
        b"*" if method == b"OPTIONS" => Ok(Target { path: target, rootless: false }),
        _ => absolute(target, host),
    }
}

fn absolute<'h>(target: &'h [u8], host: Option<&[u8]>) -> Result<Target<'h>, HttpError> {
    const SCHEME: &[u8] = b"http://";
    let Some((scheme, rest)) = target.split_at_checked(SCHEME.len()) else { return Err(NO_FORM) };
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return Err(NO_FORM);
    }
    let length = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(length);
    if !syntax::is_host(authority) {
        return Err(HttpError::bad("the request target names no valid host"));
    }
    if host.is_some_and(|host| !is_same_host(authority, host)) {
        return Err(HttpError::bad("the host in the request target is not the one in the Host field"));
    }
    Ok(Target { path, rootless: !path.starts_with(b"/") })
}

const NO_FORM: HttpError =
    HttpError::bad("the request target is neither a path that begins with / nor an http:// URL");

/// Case and the default port make no difference (RFC 9110, section 4.2.3).
fn is_same_host(left: &[u8], right: &[u8]) -> bool {
    let plain = |host: &'_ [u8]| host.strip_suffix(b":80").unwrap_or(host).to_ascii_lowercase();
    plain(left) == plain(right)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(target: &str, method: &str, host: Option<&str>) -> Result<String, u16> {
        let parsed = parse(target.as_bytes(), method.as_bytes(), host.map(str::as_bytes));
        let target = parsed.map_err(|error| error.status)?;
        let path = String::from_utf8_lossy(target.path).into_owned();
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
