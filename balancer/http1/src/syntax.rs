//! Character classes and small pieces of grammar (RFC 9110, section 5.6).

const fn class(text: &[u8], ranges: &[(u8, u8)]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut index = 0;
    while index < text.len() {
        table[text[index] as usize] = true;
        index += 1;
    }
    let mut index = 0;
    while index < ranges.len() {
        let (first, last) = ranges[index];
        let mut byte = first as usize;
        while byte <= last as usize {
            table[byte] = true;
            byte += 1;
        }
        index += 1;
    }
    table
}

const ALPHANUMERIC: &[(u8, u8)] = &[(b'a', b'z'), (b'A', b'Z'), (b'0', b'9')];
/// `tchar` (RFC 9110, section 5.6.2).
const TOKEN: [bool; 256] = class(b"!#$%&'*+-.^_`|~", ALPHANUMERIC);
/// What may stand in a field's value (RFC 9110, section 5.5).
const VALUE: [bool; 256] = class(b"\t", &[(b' ', b'~'), (0x80, 0xff)]);
/// Visible ASCII without what begins a fragment. Browsers send more than RFC
/// 3986 has, such as `|`, so its narrower set would refuse real requests.
const TARGET: [bool; 256] = class(b"!\"", &[(b'$', b'~')]);
/// `reg-name` (RFC 3986, section 3.2.2), without the comma, which would let a
/// list of hosts pass for one.
const HOST: [bool; 256] = class(b"-._~%!$&'()*+;=", ALPHANUMERIC);

fn all(bytes: &[u8], class: &[bool; 256]) -> bool {
    bytes.iter().all(|&byte| class[usize::from(byte)])
}

#[inline]
fn leading(bytes: &[u8], class: &[bool; 256]) -> usize {
    bytes.iter().position(|&byte| !class[usize::from(byte)]).unwrap_or(bytes.len())
}

/// A token, such as a method, a field's name or a cookie's (RFC 9110, section 5.6.2).
#[inline]
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && all(bytes, &TOKEN)
}

#[inline]
pub(crate) fn is_value(bytes: &[u8]) -> bool {
    all(bytes, &VALUE)
}

/// How many bytes at the beginning can be of a token.
#[inline]
pub(crate) fn token_length(bytes: &[u8]) -> usize {
    leading(bytes, &TOKEN)
}

/// How many bytes at the beginning can be of a field's value.
#[inline]
pub(crate) fn value_length(bytes: &[u8]) -> usize {
    leading(bytes, &VALUE)
}

pub(crate) fn is_target(bytes: &[u8]) -> bool {
    !bytes.is_empty() && all(bytes, &TARGET)
}

/// `uri-host [ ":" port ]`, not empty (RFC 9110, sections 4.2.1 and 7.2).
pub(crate) fn is_host(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) if address.parse::<std::net::Ipv6Addr>().is_ok() => ("", port),
        Some(_) => return false,
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let literal = text.starts_with('[');
    let port_fits = match port.strip_prefix(':') {
        None => port.is_empty(),
        Some("") => true,
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u16>().is_ok(),
    };
    port_fits && (literal || (!host.is_empty() && all(host.as_bytes(), &HOST)))
}

/// Digits only: no sign, no list, no space (RFC 9110, section 8.6).
pub(crate) fn content_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(value.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

/// `bytes` without optional white space around them.
#[inline]
pub(crate) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// The elements of a comma-separated list; empty ones are skipped.
pub(crate) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(trim).filter(|element| !element.is_empty())
}

/// The `timeout` parameter of a `Keep-Alive` field in seconds, if there is a valid one.
pub(crate) fn keep_alive_timeout(value: &[u8]) -> Option<u64> {
    let text = list(value).find_map(|parameter| {
        let mut parts = parameter.splitn(2, |&byte| byte == b'=').map(trim);
        parts.next().filter(|name| name.eq_ignore_ascii_case(b"timeout")).and(parts.next())
    })?;
    let text = text.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\"")).unwrap_or(text);
    content_length(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_or_addresses_with_an_optional_port() {
        for good in ["a", "example.org:80", "127.0.0.1:3100", "[::1]", "[::1]:80", "a_b", "host:", "%41"] {
            assert!(is_host(good.as_bytes()), "{good}");
        }
        for bad in ["", ":80", "a b", "a,b", "a:b", "a:65536", "a:+1", "[::1", "[x]", "[::1]x", "a/b", "u@h"]
        {
            assert!(!is_host(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn lengths_are_plain_digits() {
        assert_eq!(content_length(b"0"), Some(0));
        assert_eq!(content_length(b"9999999999999999999"), Some(9_999_999_999_999_999_999));
        for bad in ["", "+1", "-1", "1,1", "1 1", "0x1", "1.0", "10000000000000000000", "१"] {
            assert_eq!(content_length(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn classes_exclude_what_would_be_read_differently() {
        assert!(is_token(b"x-a!#$%&'*+-.^_`|~9") && !is_token(b"") && !is_token(b"a b") && !is_token(b"a:"));
        assert!(is_value(b"a\tb \xff") && !is_value(b"a\0") && !is_value(b"a\r") && !is_value(b"\x7f"));
        assert!(is_target(b"/a?b=|\"") && !is_target(b"/#a") && !is_target(b"/a b") && !is_target(b"/\xc3"));
    }
}
