//! Who the client is, and how much of what it says of that is believed.

use std::net::IpAddr;

use balancer_http1::request::RequestHead;
use balancer_http1::{Field, Known};

/// The client, as workers are told of it.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// Its address as text, once per connection.
    pub address: String,
    /// What it says of where its requests come from is passed on and added to,
    /// as it is a proxy that we know.
    pub trusted: bool,
}

impl Origin {
    pub fn new(address: Option<IpAddr>, trusted: bool) -> Self {
        Self { address: address.map(|ip| ip.to_canonical().to_string()).unwrap_or_default(), trusted }
    }
}

/// The client's address as far as it is known: that of the connection or, where
/// a trusted proxy holds that, the one that this proxy has named last. What stands
/// before it may be anybody's invention.
pub fn client<'a>(head: &'a [u8], request: &RequestHead, origin: &'a Origin) -> &'a [u8] {
    let claimed = || {
        let field = request.fields.iter().rfind(|field| field.known == Known::ForwardedFor)?;
        let last = field.value.in_head(head).rsplit(|&byte| byte == b',').next()?.trim_ascii();
        (!last.is_empty()).then_some(last)
    };
    let claimed = if origin.trusted { claimed() } else { None };
    claimed.unwrap_or(origin.address.as_bytes())
}

/// Does the client speak HTTPS? Only with a proxy that says so: we speak HTTP.
pub fn is_https(head: &[u8], request: &RequestHead, origin: &Origin) -> bool {
    let says_so = |field: &Field| {
        let (name, value) = (field.name.in_head(head), field.value.in_head(head));
        if name.eq_ignore_ascii_case(b"x-forwarded-proto") {
            let first = value.split(|&byte| byte == b',').next().unwrap_or_default();
            return first.trim_ascii().eq_ignore_ascii_case(b"https");
        }
        // RFC 7239, section 4: the first element is of the client.
        let first = value.split(|&byte| byte == b',').next().unwrap_or_default();
        name.eq_ignore_ascii_case(b"forwarded")
            && first.split(|&byte| byte == b';').any(|pair| {
                let pair = pair.trim_ascii().to_ascii_lowercase();
                pair == b"proto=https" || pair == b"proto=\"https\""
            })
    };
    origin.trusted && request.fields.iter().any(|field| field.known == Known::Claim && says_so(field))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_and_how_a_client_is_comes_from_the_connection_unless_it_is_trusted() {
        let of = |fields: &str, trusted: bool| {
            let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
            let parsed = RequestHead::parse(head.as_bytes(), vec![]).unwrap();
            let origin = Origin::new(Some("192.0.2.7".parse().unwrap()), trusted);
            let client = client(head.as_bytes(), &parsed, &origin).to_vec();
            (String::from_utf8(client).unwrap(), is_https(head.as_bytes(), &parsed, &origin))
        };
        let claims = "X-Forwarded-For: 6.6.6.6, 192.0.2.1\r\nX-Forwarded-Proto: https\r\n";
        assert_eq!(of(claims, false), ("192.0.2.7".to_owned(), false));
        assert_eq!(of(claims, true), ("192.0.2.1".to_owned(), true));
        assert_eq!(of("", true), ("192.0.2.7".to_owned(), false));
        assert_eq!(of("X-Forwarded-For: \r\n", true).0, "192.0.2.7");
        assert!(!of("X-Forwarded-Proto: http, https\r\n", true).1);
        assert!(of("Forwarded: for=1.1.1.1;Proto=HTTPS, for=2.2.2.2;proto=http\r\n", true).1);
        assert!(!of("Forwarded: for=1.1.1.1;proto=http, proto=https\r\n", true).1);
    }
}
