//! What a request's worker is chosen by, with the strategy hash.

use std::net::{IpAddr, SocketAddr};

use balancer_http1::{Fields, RequestHead, is_token};
use balancer_pool::HashKey;

use crate::cookies;
use crate::field::ProxyField;
use crate::forwarded::{self, ClientIdentity};

/// The part of a request that is its key. A request without it, or with an empty one, is
/// led by its client's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashKeySource {
    /// The client's address, as the access log has it. Of an IPv6 address the first 64 bits
    /// count: devices change the rest by themselves (RFC 8981).
    ClientIp,
    /// The first field with this name.
    Header(String),
    /// The first cookie with this name.
    Cookie(String),
    /// The first parameter of the query with this name, as it is written.
    Query(String),
}

impl HashKeySource {
    /// Reads `client-ip`, `header:NAME`, `cookie:NAME` or `query:NAME`.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "client-ip" {
            return Some(Self::ClientIp);
        }
        let (part, name) = text.split_once(':')?;
        let fits = match part {
            "header" | "cookie" => is_token(name.as_bytes()),
            // What delimits parameters is part of no name.
            "query" => {
                !name.is_empty()
                    && name.bytes().all(|byte| byte.is_ascii_graphic() && !b"&=#".contains(&byte))
            }
            _ => false,
        };
        let name = Some(name.to_owned()).filter(|_| fits)?;
        Some(match part {
            "header" => Self::Header(name),
            "cookie" => Self::Cookie(name),
            _ => Self::Query(name),
        })
    }

    pub(crate) fn key_of(&self, request: &RequestHead<'_, ProxyField>, identity: &ClientIdentity) -> HashKey {
        let named = match self {
            Self::ClientIp => None,
            Self::Header(name) => request.fields.first_named(name.as_bytes()),
            Self::Cookie(name) => cookies::named(&request.fields, name.as_bytes()).next(),
            Self::Query(name) => parameter(request.resource.path, name.as_bytes()),
        };
        match named.filter(|value| !value.is_empty()) {
            Some(value) => HashKey::new(value),
            None => key_of_client(&request.fields, identity),
        }
    }
}

/// The value of the first parameter with this name in the query of `target`.
fn parameter<'h>(target: &'h [u8], name: &[u8]) -> Option<&'h [u8]> {
    let question_mark = target.iter().position(|&byte| byte == b'?')?;
    let mut pairs = target[question_mark + 1..].split(|&byte| byte == b'&');
    pairs.find_map(|pair| pair.strip_prefix(name)?.strip_prefix(b"="))
}

fn key_of_client(fields: &Fields<'_, ProxyField>, identity: &ClientIdentity) -> HashKey {
    let address = forwarded::client_address(fields, identity);
    match parse_address(address) {
        Some(IpAddr::V4(address)) => HashKey::new(&address.octets()),
        Some(IpAddr::V6(address)) => HashKey::new(&address.octets()[..8]),
        // A proxy may give clients names of its own.
        None => HashKey::new(address),
    }
}

/// An address as proxies write it: some add the port, and brackets to an IPv6 address.
fn parse_address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address: IpAddr =
        bare.parse().ok().or_else(|| text.parse().ok().map(|address: SocketAddr| address.ip()))?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use balancer_http1::FieldBuffer;

    use super::*;

    /// The key of a request with this target and these fields, from this address.
    fn key(source: &str, target: &str, fields: &str, client: &str) -> HashKey {
        let head = format!("GET {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let mut buffer = FieldBuffer::default();
        let request = RequestHead::parse(head.as_bytes(), &mut buffer).unwrap();
        let trusted = fields.contains("X-Forwarded-For");
        let identity = ClientIdentity::new(client.parse().unwrap(), trusted);
        HashKeySource::parse(source).unwrap().key_of(&request, &identity)
    }

    const CLIENT: &str = "192.0.2.7";

    fn of_client() -> HashKey {
        HashKey::new(&[192, 0, 2, 7])
    }

    #[test]
    fn sources_are_a_kind_and_a_name() {
        let named = |kind: fn(String) -> HashKeySource, name: &str| Some(kind(name.to_owned()));
        assert_eq!(HashKeySource::parse("client-ip"), Some(HashKeySource::ClientIp));
        assert_eq!(HashKeySource::parse("header:X-User"), named(HashKeySource::Header, "X-User"));
        assert_eq!(HashKeySource::parse("cookie:JSESSIONID"), named(HashKeySource::Cookie, "JSESSIONID"));
        assert_eq!(HashKeySource::parse("query:a[b]:c"), named(HashKeySource::Query, "a[b]:c"));
        for bad in [
            "",
            "ip",
            "Client-IP",
            "client-ip:",
            "client-ip:x",
            "header",
            "header:",
            "header: x",
            "header:a b",
            "header:a:b",
            "header:ä",
            "cookie:",
            "cookie:a=b",
            "cookie:a;b",
            "query:",
            "query:a=b",
            "query:a&b",
            "query:a#b",
            "query:a b",
            "Header:x",
            "path:/",
            ":x",
        ] {
            assert_eq!(HashKeySource::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn the_first_one_with_the_name_is_the_key() {
        let value = HashKey::new(b"v=1");
        for (source, target, fields) in [
            ("header:X-User", "/", "x-user: \t v=1 \r\nX-User: other\r\n"),
            ("header:x-user", "/", "X-USER: v=1\r\n"),
            ("cookie:id", "/", "Cookie: xid=2; id=v=1; id=3\r\n"),
            ("cookie:id", "/", "cookie: a=b;id=v=1\r\n"),
            ("cookie:id", "/", "Cookie: a=b\r\nCookie: id=v=1\r\n"),
            ("query:id", "/?id=v=1", ""),
            ("query:id", "/a?xid=2&id=v=1&id=3", ""),
            ("query:id", "/?a?id=2&id=v=1", ""),
            ("query:id", "http://a/?id=v=1", ""),
        ] {
            assert_eq!(key(source, target, fields, CLIENT), value, "{source} {target} {fields}");
        }
        assert_ne!(key("query:id", "/?id=%761", "", CLIENT), key("query:id", "/?id=v1", "", CLIENT));
    }

    #[test]
    fn without_a_key_the_client_decides() {
        for (source, target, fields) in [
            ("header:x-user", "/?x-user=1", "Cookie: x-user=1\r\n"),
            ("header:x-user", "/", "X-User:  \r\nX-User: 1\r\n"),
            ("cookie:id", "/?id=1", "Id: 1\r\nCookie: ID=1; idx=1; id\r\n"),
            ("cookie:id", "/", "Cookie: id=\r\n"),
            ("query:id", "/id=1", "Cookie: id=1\r\n"),
            ("query:id", "/?ID=1&idx=1&id", ""),
            ("query:id", "/?id=&id=1", ""),
            ("query:id", "/?", ""),
        ] {
            assert_eq!(key(source, target, fields, CLIENT), of_client(), "{source} {target} {fields}");
        }
    }

    #[test]
    fn a_client_is_its_address_as_far_as_it_is_known() {
        let of = |fields: &str, client: &str| key("client-ip", "/", fields, client);
        assert_eq!(of("", "::ffff:192.0.2.7"), of_client());
        assert_ne!(of("", "192.0.2.8"), of_client());
        for last in ["192.0.2.7", "192.0.2.7:4711", "::ffff:192.0.2.7", "[::ffff:192.0.2.7]:80"] {
            let fields = format!("X-Forwarded-For: 6.6.6.6, {last}\r\n");
            assert_eq!(of(&fields, "10.0.0.1"), of_client(), "{last}");
        }
        assert_eq!(of("X-Forwarded-For: _hidden\r\n", "10.0.0.1"), HashKey::new(b"_hidden"));
        // Only who is trusted can say so.
        let mut buffer = FieldBuffer::default();
        let head = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n";
        let request = RequestHead::parse(head, &mut buffer).unwrap();
        let identity = ClientIdentity::new(CLIENT.parse().unwrap(), false);
        assert_eq!(HashKeySource::ClientIp.key_of(&request, &identity), of_client());
    }

    #[test]
    fn a_device_that_changes_its_ipv6_address_within_its_network_is_the_same_client() {
        let of = |client: &str| key("client-ip", "/", "", client);
        let forwarded =
            |last: &str| key("client-ip", "/", &format!("X-Forwarded-For: {last}\r\n"), "10.0.0.1");
        let network = of("2001:db8:0:1::1");
        assert_eq!(of("2001:db8:0:1:aaaa:bbbb:cccc:dddd"), network);
        assert_ne!(of("2001:db8:0:2::1"), network);
        for last in ["2001:DB8:0:1::5", "[2001:db8:0:1::5]", "[2001:db8:0:1::5]:443"] {
            assert_eq!(forwarded(last), network, "{last}");
        }
    }
}
