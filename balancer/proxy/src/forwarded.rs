//! Who the client is, and how much of what it says of that is believed.

use std::net::IpAddr;

use balancer_http1::{FieldKind, Fields};

use crate::field::ProxyField;

/// The client of a connection, as workers are told of it.
#[derive(Debug, Clone)]
pub struct ClientIdentity {
    /// Its address as text, made once per connection.
    pub address: String,
    /// The client is a known proxy: what it says of where its requests come from is
    /// passed on and added to.
    pub is_trusted: bool,
    /// It speaks HTTP/2.
    pub is_http2: bool,
    /// The connection is a TLS session.
    pub is_tls: bool,
}

impl ClientIdentity {
    pub fn new(address: IpAddr, is_trusted: bool) -> Self {
        Self { address: address.to_canonical().to_string(), is_trusted, is_tls: false, is_http2: false }
    }

    /// The peer of a Unix socket, which has no address. nginx calls it the same.
    pub fn unix(is_trusted: bool) -> Self {
        Self { address: UNIX.to_owned(), is_trusted, is_tls: false, is_http2: false }
    }
}

/// Stands for the address of who has connected to a Unix socket.
const UNIX: &str = "unix:";

/// Appends the field that tells a worker through whose hands the request came: the
/// elements of all lines that a trusted proxy has sent, in order (RFC 9110, section
/// 5.3), and the address of the connection. Behind them a Unix socket adds nothing: there
/// the last one is to be an address, which programs count back from.
pub(crate) fn write_forwarded_for(
    out: &mut Vec<u8>,
    fields: &Fields<'_, ProxyField>,
    identity: &ClientIdentity,
) {
    let lines = || fields.iter().filter(|field| field.kind == FieldKind::Custom(ProxyField::ForwardedFor));
    let first = if identity.is_trusted { lines().next() } else { None };
    out.extend_from_slice(first.map_or(b"X-Forwarded-For".as_slice(), |field| field.name));
    out.extend_from_slice(b": ");
    let mut separator: &[u8] = b"";
    if first.is_some() {
        for address in lines().flat_map(|field| elements(field.value)) {
            out.extend_from_slice(separator);
            out.extend_from_slice(address);
            separator = b", ";
        }
    }
    if separator.is_empty() || identity.address != UNIX {
        out.extend_from_slice(separator);
        out.extend_from_slice(identity.address.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// The elements of a list; empty ones say nothing (RFC 9110, section 5.6.1).
fn elements(value: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

/// The client's address as far as it is known: that of the connection or, where a
/// trusted proxy holds that, the one that this proxy has added last. The addresses
/// before it may be anybody's invention.
pub(crate) fn client_address<'a>(fields: &Fields<'a, ProxyField>, identity: &'a ClientIdentity) -> &'a [u8] {
    let forwarded = || {
        let mut lines = fields.iter().rev();
        lines.find_map(|field| match field.kind {
            FieldKind::Custom(ProxyField::ForwardedFor) => elements(field.value).next_back(),
            _ => None,
        })
    };
    let forwarded = if identity.is_trusted { forwarded() } else { None };
    forwarded.unwrap_or(identity.address.as_bytes())
}

/// Does the client speak HTTPS? A trusted proxy can say so of its own clients; otherwise it is
/// the connection that tells.
pub(crate) fn is_https(fields: &Fields<'_, ProxyField>, identity: &ClientIdentity) -> bool {
    if !identity.is_trusted {
        return identity.is_tls;
    }
    // Several lines are one list, whose first element is of the client (RFC 7239,
    // section 4).
    let first = |name: &[u8]| {
        let mut lines = fields.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
        lines.find_map(|field| elements(field.value).next())
    };
    let proto = |element: &[u8]| {
        element.split(|&byte| byte == b';').find_map(|pair| {
            let pair = pair.trim_ascii();
            let is = |text: &str| pair.eq_ignore_ascii_case(text.as_bytes());
            let is_proto = pair.get(..6).is_some_and(|start| start.eq_ignore_ascii_case(b"proto="));
            is_proto.then(|| is("proto=https") || is("proto=\"https\""))
        })
    };
    let by_header = first(b"x-forwarded-proto").map(|proto| proto.eq_ignore_ascii_case(b"https"));
    match (by_header, first(b"forwarded").and_then(proto)) {
        (None, None) => identity.is_tls,
        (by_header, by_forwarded) => by_header == Some(true) || by_forwarded == Some(true),
    }
}

#[cfg(test)]
mod tests {
    use balancer_http1::{FieldBuffer, RequestHead};

    use super::*;

    #[test]
    fn a_unix_socket_adds_nothing_to_what_a_proxy_says_of_its_client() {
        let of = |fields: &str, trusted: bool| {
            let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
            let mut buffer = FieldBuffer::default();
            let fields = RequestHead::parse(head.as_bytes(), &mut buffer).unwrap().fields;
            let (identity, mut out) = (ClientIdentity::unix(trusted), Vec::new());
            write_forwarded_for(&mut out, &fields, &identity);
            let client = client_address(&fields, &identity).to_vec();
            [out, client].map(|bytes| String::from_utf8(bytes).unwrap())
        };
        let claims = "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 192.0.2.1\r\n";
        assert_eq!(of(claims, true), ["X-Forwarded-For: 6.6.6.6, 192.0.2.1\r\n", "192.0.2.1"]);
        assert_eq!(of("X-Forwarded-For: ,\r\n", true), ["X-Forwarded-For: unix:\r\n", "unix:"]);
        assert_eq!(of("", true), ["X-Forwarded-For: unix:\r\n", "unix:"]);
        assert_eq!(of(claims, false), ["X-Forwarded-For: unix:\r\n", "unix:"]);
    }

    #[test]
    fn who_and_how_a_client_is_comes_from_the_connection_unless_it_is_trusted() {
        let of = |fields: &str, trusted: bool| {
            let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
            let mut buffer = FieldBuffer::default();
            let fields = RequestHead::parse(head.as_bytes(), &mut buffer).unwrap().fields;
            let identity = ClientIdentity::new("192.0.2.7".parse().unwrap(), trusted);
            let client = client_address(&fields, &identity).to_vec();
            (String::from_utf8(client).unwrap(), is_https(&fields, &identity))
        };
        let claims = "X-Forwarded-For: 6.6.6.6, 192.0.2.1\r\nX-Forwarded-Proto: https\r\n";
        assert_eq!(of(claims, false), ("192.0.2.7".to_owned(), false));
        assert_eq!(of(claims, true), ("192.0.2.1".to_owned(), true));
        assert_eq!(of("", true), ("192.0.2.7".to_owned(), false));
        assert_eq!(of("X-Forwarded-For: \r\n", true).0, "192.0.2.7");
        assert!(!of("X-Forwarded-Proto: http, https\r\n", true).1);
        assert!(of("Forwarded: for=1.1.1.1;Proto=HTTPS, for=2.2.2.2;proto=http\r\n", true).1);
        assert!(!of("Forwarded: for=1.1.1.1;proto=http, proto=https\r\n", true).1);
        // Several lines are one list, and what is empty says nothing.
        let lines = "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 192.0.2.2,,\r\nX-Forwarded-For:\r\n";
        assert_eq!(of(lines, true).0, "192.0.2.2");
        assert_eq!(of("X-Forwarded-For: ,\r\nX-Forwarded-For: \r\n", true).0, "192.0.2.7");
        assert!(!of("X-Forwarded-Proto: http\r\nX-Forwarded-Proto: https\r\n", true).1);
        assert!(of("X-Forwarded-Proto:\r\nX-Forwarded-Proto: https\r\n", true).1);
        assert!(!of("Forwarded: proto=http\r\nForwarded: proto=https\r\n", true).1);
    }

    #[test]
    fn a_client_of_a_tls_session_speaks_https_unless_a_trusted_proxy_says_of_its_own_that_it_does_not() {
        let of = |fields: &str, is_trusted: bool| {
            let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
            let mut buffer = FieldBuffer::default();
            let fields = RequestHead::parse(head.as_bytes(), &mut buffer).unwrap().fields;
            let address = "192.0.2.7".parse().unwrap();
            is_https(&fields, &ClientIdentity { is_tls: true, ..ClientIdentity::new(address, is_trusted) })
        };
        assert!(of("", false) && of("", true));
        assert!(of("X-Forwarded-Proto: http\r\n", false));
        assert!(!of("X-Forwarded-Proto: http\r\n", true));
        assert!(!of("Forwarded: for=1.1.1.1;proto=http\r\n", true));
        assert!(of("Forwarded: for=1.1.1.1\r\n", true));
    }
}
