//! Name and attributes of the sticky cookie (RFC 6265, section 4.1; RFC 6265bis,
//! sections 4.1.2 and 4.1.3).

use balancer_http1::is_token;

/// Browsers drop a cookie whose name and value have more than 4,096 bytes, and an attribute
/// of more than 1,024 (RFC 6265bis, section 5.6). This is far below and more than enough.
pub(super) const LONGEST: usize = 256;

/// Which requests from pages of other sites carry the cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SameSite {
    /// Those that open a page.
    Lax,
    /// None at all.
    Strict,
    /// All: browsers take it with `Secure` only.
    None,
    /// What the browser does without the attribute.
    Off,
}

impl SameSite {
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "lax" => Self::Lax,
            "strict" => Self::Strict,
            "none" => Self::None,
            "off" => Self::Off,
            _ => return None,
        })
    }

    fn attribute(self) -> &'static str {
        match self {
            Self::Lax => "; SameSite=Lax",
            Self::Strict => "; SameSite=Strict",
            Self::None => "; SameSite=None",
            Self::Off => "",
        }
    }
}

/// Why browsers would not keep a cookie with such attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CookieError {
    #[error("browsers take SameSite=None with Secure only")]
    SameSiteNone,
    #[error("browsers take a name that begins with __Secure-, __Host- or __Http- with Secure only")]
    SecurePrefix,
    #[error("browsers take a name that begins with __Host- with Path=/ only")]
    HostPrefix,
}

/// What the sticky cookie looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CookieAttributes {
    name: String,
    path: String,
    same_site: SameSite,
    is_secure: bool,
}

impl Default for CookieAttributes {
    fn default() -> Self {
        Self {
            name: "cluster_worker".to_owned(),
            path: "/".to_owned(),
            same_site: SameSite::Lax,
            is_secure: false,
        }
    }
}

impl CookieAttributes {
    /// A cookie with a name and a path that [`Self::parse_name`] and [`Self::parse_path`] have
    /// checked. With `is_secure` browsers send it with HTTPS only; otherwise that is so where
    /// the client speaks HTTPS.
    ///
    /// # Errors
    /// When browsers would not keep it.
    pub fn new(
        name: String,
        path: String,
        same_site: SameSite,
        is_secure: bool,
    ) -> Result<Self, CookieError> {
        // Browsers compare these without regard to case.
        let begins =
            |prefix: &str| name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
        if same_site == SameSite::None && !is_secure {
            return Err(CookieError::SameSiteNone);
        }
        if !is_secure && ["__Secure-", "__Host-", "__Http-"].into_iter().any(begins) {
            return Err(CookieError::SecurePrefix);
        }
        if begins("__Host-") && path != "/" {
            return Err(CookieError::HostPrefix);
        }
        Ok(Self { name, path, same_site, is_secure })
    }

    /// A cookie's name is a token (RFC 6265, section 4.1.1).
    pub fn parse_name(text: &str) -> Option<String> {
        (text.len() <= LONGEST && is_token(text.as_bytes())).then(|| text.to_owned())
    }

    /// A path that can be an attribute: without a semicolon, a space or a control character.
    pub fn parse_path(text: &str) -> Option<String> {
        let fits = text.bytes().all(|byte| byte.is_ascii_graphic() && !b";?#".contains(&byte));
        (text.len() <= LONGEST && text.starts_with('/') && fits).then(|| text.to_owned())
    }

    pub(super) fn name(&self) -> &[u8] {
        self.name.as_bytes()
    }

    /// Would a browser send the cookie with a request for `target` (RFC 6265, section 5.1.4)?
    pub(super) fn covers(&self, target: &[u8]) -> bool {
        let path = target.split(|&byte| byte == b'?').next().unwrap_or_default();
        path.strip_prefix(self.path.as_bytes())
            .is_some_and(|rest| matches!(rest, [] | [b'/', ..]) || self.path.ends_with('/'))
    }

    /// Appends the attributes; `is_https` when the client speaks HTTPS.
    pub(super) fn write(&self, out: &mut Vec<u8>, is_https: bool) {
        for text in ["; Path=", &self.path, "; HttpOnly", self.same_site.attribute()] {
            out.extend_from_slice(text.as_bytes());
        }
        if self.is_secure || is_https {
            out.extend_from_slice(b"; Secure");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(name: &str, path: &str, same_site: SameSite, is_secure: bool) -> Result<String, CookieError> {
        let attributes = CookieAttributes::new(name.to_owned(), path.to_owned(), same_site, is_secure)?;
        let mut out = Vec::new();
        attributes.write(&mut out, false);
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn attributes_are_written_as_browsers_read_them() {
        let of = |same_site, is_secure| new("a", "/b", same_site, is_secure).unwrap();
        assert_eq!(of(SameSite::Lax, false), "; Path=/b; HttpOnly; SameSite=Lax");
        assert_eq!(of(SameSite::Strict, false), "; Path=/b; HttpOnly; SameSite=Strict");
        assert_eq!(of(SameSite::None, true), "; Path=/b; HttpOnly; SameSite=None; Secure");
        assert_eq!(of(SameSite::Off, true), "; Path=/b; HttpOnly; Secure");
        assert_eq!(of(SameSite::Off, false), "; Path=/b; HttpOnly");
    }

    #[test]
    fn what_browsers_would_drop_is_refused() {
        use SameSite::{Lax, None};
        assert_eq!(new("a", "/", None, false), Err(CookieError::SameSiteNone));
        for name in ["__Host-a", "__Secure-a", "__host-a", "__SECURE-a", "__Http-a", "__Host-Http-a"] {
            assert_eq!(new(name, "/", Lax, false), Err(CookieError::SecurePrefix), "{name}");
            assert!(new(name, "/", Lax, true).is_ok(), "{name}");
        }
        assert_eq!(new("__Host-a", "/b", Lax, true), Err(CookieError::HostPrefix));
        assert!(new("__Secure-a", "/b", Lax, true).is_ok() && new("__Hosta", "/b", Lax, false).is_ok());
    }

    #[test]
    fn names_are_tokens_and_paths_are_paths() {
        for name in ["a", "cluster_worker", "__Host-x", "a.b!#$%&'*+-^`|~9"] {
            assert_eq!(CookieAttributes::parse_name(name).as_deref(), Some(name));
        }
        let long = "x".repeat(LONGEST + 1);
        for bad in
            ["", "a b", "a=b", "a;b", "a,b", "\"a\"", "a\r\nb", "a\tb", "ä", "(a)", "a/b", "a@b", &long]
        {
            assert_eq!(CookieAttributes::parse_name(bad), None, "{bad:?}");
        }
        for path in ["/", "/a", "/a/b/", "/a%20b", "/a,b=c"] {
            assert_eq!(CookieAttributes::parse_path(path).as_deref(), Some(path));
        }
        let long = format!("/{long}");
        for bad in ["", "a", "a/", "/a;b", "/a b", "/a\r\nb", "/ä", "/a?b", "/a#b", &long] {
            assert_eq!(CookieAttributes::parse_path(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_path_covers_what_is_below_it() {
        let covers = |path: &str, target: &str| {
            CookieAttributes { path: path.to_owned(), ..CookieAttributes::default() }
                .covers(target.as_bytes())
        };
        for (path, target) in [
            ("/", "/"),
            ("/", "/a?b"),
            ("/a", "/a"),
            ("/a", "/a?b"),
            ("/a", "/a/b"),
            ("/a/", "/a/"),
            ("/a/", "/a/b"),
        ] {
            assert!(covers(path, target), "{path} {target}");
        }
        for (path, target) in [
            ("/a", "/"),
            ("/a", "/ab"),
            ("/a", "/b/a"),
            ("/a/", "/a"),
            ("/a", "/b?/a"),
            ("/a", "*"),
            ("/a", "/A"),
        ] {
            assert!(!covers(path, target), "{path} {target}");
        }
    }
}
