//! May a shared cache, such as a CDN, store a response (RFC 9111, section 3)?
//!
//! A cookie in a stored response is given to all clients that the cache serves, and brings
//! them all to one worker. A response gets none therefore when it says itself that it may be
//! stored: by `public`, by a time for which it is fresh, or by one for which it may be used
//! stale. One that says nothing gets the cookie, although a cache may guess how long it is
//! fresh (section 4.2.2): hardly any response of a program says anything, so nobody would
//! get a cookie; and caches such as nginx and Varnish store no response with `Set-Cookie`
//! unless they are told to.

use std::time::SystemTime;

use balancer_http1::Fields;

use crate::field::ProxyField;

/// Does a response to GET or HEAD with these fields say that a shared cache may store it?
/// `is_authorized` when the request has an `Authorization` field.
pub(super) fn is_storable(fields: &Fields<'_, ProxyField>, is_authorized: bool, now: SystemTime) -> bool {
    let own = Directives::of(fields, b"cache-control");
    let is_fresh = || own.is_silent() && is_before_expiry(fields, now);
    // For CDNs alone, whatever others are told (RFC 9213; Edge Architecture Specification).
    let mut targeted = [&b"cdn-cache-control"[..], b"surrogate-control"].into_iter();
    own.allow(is_authorized, is_fresh)
        || targeted.any(|name| Directives::of(fields, name).allow(is_authorized, || false))
}

/// What the directives of a response say (RFC 9111, section 5.2.2).
#[derive(Debug, Default)]
struct Directives {
    /// Not for shared caches, or not the cookie: `private`.
    is_private: bool,
    /// Not without asking, or not the cookie: `no-cache`.
    no_cache: bool,
    no_store: bool,
    /// Who knows this directive ignores `no-store`.
    must_understand: bool,
    public: bool,
    must_revalidate: bool,
    /// Seconds. The first one counts (section 4.2.1).
    s_maxage: Option<u64>,
    max_age: Option<u64>,
    /// It may be used for some time when it is stale (RFC 5861).
    is_usable_stale: bool,
}

impl Directives {
    /// Those of all fields with this name.
    fn of(fields: &Fields<'_, ProxyField>, name: &[u8]) -> Self {
        let mut directives = Self::default();
        for field in fields.iter().filter(|field| field.name.eq_ignore_ascii_case(name)) {
            let mut rest = field.value;
            while let Some((name, argument)) = next_directive(&mut rest) {
                directives.add(name, argument);
            }
        }
        directives
    }

    fn add(&mut self, name: &[u8], argument: Option<&[u8]>) {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if is("private") {
            self.is_private |= concerns_cookie(argument);
        } else if is("no-cache") {
            self.no_cache |= concerns_cookie(argument);
        } else if is("no-store") {
            self.no_store = true;
        } else if is("must-understand") {
            self.must_understand = true;
        } else if is("public") {
            self.public = true;
        } else if is("must-revalidate") {
            self.must_revalidate = true;
        } else if is("s-maxage") {
            self.s_maxage.get_or_insert(seconds(argument));
        } else if is("max-age") {
            self.max_age.get_or_insert(seconds(argument));
        } else if is("stale-while-revalidate") || is("stale-if-error") {
            self.is_usable_stale |= seconds(argument) > 0;
        }
    }

    /// Is there no word on how long the response is fresh?
    fn is_silent(&self) -> bool {
        self.s_maxage.or(self.max_age).is_none()
    }

    /// May the response be stored? `is_fresh` says whether another field makes it fresh.
    fn allow(&self, is_authorized: bool, is_fresh: impl FnOnce() -> bool) -> bool {
        if self.is_private || self.no_cache || (self.no_store && !self.must_understand) {
            return false;
        }
        // Section 3.5.
        if is_authorized && !(self.public || self.must_revalidate || self.s_maxage.is_some()) {
            return false;
        }
        let lifetime = self.s_maxage.or(self.max_age);
        self.public || self.is_usable_stale || lifetime.is_some_and(|lifetime| lifetime > 0) || is_fresh()
    }
}

/// Takes the first element out of a list of directives. Commas within a quoted string do
/// not end it.
fn next_directive<'h>(rest: &mut &'h [u8]) -> Option<(&'h [u8], Option<&'h [u8]>)> {
    if rest.is_empty() {
        return None;
    }
    let (mut is_quoted, mut is_escaped) = (false, false);
    let comma = rest.iter().position(|&byte| {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            b',' => return !is_quoted,
            _ => {}
        }
        false
    });
    let (element, after) = match comma {
        Some(comma) => (&rest[..comma], &rest[comma + 1..]),
        None => (*rest, &rest[rest.len()..]),
    };
    *rest = after;
    let mut parts = element.splitn(2, |&byte| byte == b'=').map(<[u8]>::trim_ascii);
    Some((parts.next().unwrap_or_default(), parts.next().map(unquoted)))
}

/// An argument without the quotes around it: both forms mean the same (section 5.2).
fn unquoted(argument: &[u8]) -> &[u8] {
    let inner = argument.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    inner.unwrap_or(argument).trim_ascii()
}

/// Does `private` or `no-cache` with these names of fields concern the cookie? Without
/// names it concerns the whole response (sections 5.2.2.4 and 5.2.2.7).
fn concerns_cookie(names: Option<&[u8]>) -> bool {
    names.filter(|names| !names.is_empty()).is_none_or(|names| {
        names.split(|&byte| byte == b',').any(|name| name.trim_ascii().eq_ignore_ascii_case(b"set-cookie"))
    })
}

/// A number of seconds; what is none counts as stale at once (section 4.2.1).
fn seconds(argument: Option<&[u8]>) -> u64 {
    let digits = argument.filter(|text| !text.is_empty() && text.iter().all(u8::is_ascii_digit));
    digits
        .unwrap_or_default()
        .iter()
        .fold(0_u64, |number, digit| number.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
}

/// Is `Expires` later than `Date`, or than now if there is none (section 4.2.1)?
fn is_before_expiry(fields: &Fields<'_, ProxyField>, now: SystemTime) -> bool {
    let date = |name: &[u8]| {
        let value = std::str::from_utf8(fields.first_named(name)?).ok()?;
        httpdate::parse_http_date(value).ok()
    };
    date(b"expires").is_some_and(|expires| expires > date(b"date").unwrap_or(now))
}

#[cfg(test)]
mod tests;
