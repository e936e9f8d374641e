//! Header rules of a reverse proxy, as plain functions on header maps.

use std::net::IpAddr;

use http::header::{CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRAILER};
use shared::protocol::{is_well_formed_request_id, new_request_id};

pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static(shared::protocol::REQUEST_ID_HEADER);
pub const X_WORKER_ID: HeaderName = HeaderName::from_static(shared::protocol::WORKER_ID_HEADER);

/// What a client says of where a request came from; the balancer knows better.
pub const CLIENT_CLAIMS: [HeaderName; 6] = [
    X_FORWARDED_FOR,
    X_FORWARDED_PROTO,
    X_FORWARDED_HOST,
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("forwarded"),
];

/// Fields that describe one connection and end at it (RFC 9110, section 7.6.1).
/// `Transfer-Encoding` and `Upgrade` are left to the code that frames messages.
const HOP_BY_HOP: [HeaderName; 4] =
    [HeaderName::from_static("keep-alive"), HeaderName::from_static("proxy-connection"), TE, TRAILER];

/// Fields that are end to end whatever `Connection` says of them: dropping them
/// would change what the message means or how it is framed.
const NEVER_NOMINATED: [&str; 5] = ["content-length", "transfer-encoding", "host", "upgrade", "close"];

/// The names of all fields in `headers` that must not be passed on.
pub fn hop_by_hop(headers: &HeaderMap) -> Vec<HeaderName> {
    let nominated = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|token| HeaderName::from_bytes(token.trim().as_bytes()).ok())
        .filter(|name| !NEVER_NOMINATED.contains(&name.as_str()));
    HOP_BY_HOP.into_iter().chain(nominated).filter(|name| headers.contains_key(name)).collect()
}

/// Where a request came from, in the fields that upstreams read.
pub fn forwarded(client: Option<IpAddr>, headers: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
    let mut fields = vec![(X_FORWARDED_PROTO, HeaderValue::from_static("http"))];
    let client = client.and_then(|ip| HeaderValue::from_str(&ip.to_canonical().to_string()).ok());
    fields.extend(client.map(|ip| (X_FORWARDED_FOR, ip)));
    fields.extend(headers.get(HOST).map(|host| (X_FORWARDED_HOST, host.clone())));
    fields
}

/// The client's own request id when it is well formed, else a new one.
pub fn request_id(headers: &HeaderMap) -> HeaderValue {
    match headers.get(X_REQUEST_ID) {
        Some(id) if is_well_formed_request_id(id.as_bytes()) => id.clone(),
        _ => HeaderValue::try_from(new_request_id()).expect("hexadecimal digits make a header value"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for &(name, value) in fields {
            map.append(HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap());
        }
        map
    }

    #[test]
    fn hop_by_hop_fields_and_those_that_connection_names_are_found() {
        let found = hop_by_hop(&headers(&[
            ("connection", "close, X-Private"),
            ("connection", "x-other ,,"),
            ("x-private", "1"),
            ("x-other", "2"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("x-kept", "3"),
        ]));
        let names: Vec<_> = found.iter().map(HeaderName::as_str).collect();
        assert_eq!(names, ["keep-alive", "te", "x-private", "x-other"]);
    }

    #[test]
    fn connection_cannot_name_away_what_frames_or_routes_the_message() {
        let map = headers(&[
            ("connection", "content-length, transfer-encoding, host, upgrade"),
            ("content-length", "3"),
            ("host", "a"),
            ("upgrade", "websocket"),
        ]);
        assert_eq!(hop_by_hop(&map), Vec::<HeaderName>::new());
    }

    #[test]
    fn forwarding_fields_come_from_the_connection() {
        let client = "::ffff:192.0.2.7".parse().unwrap();
        let fields =
            forwarded(Some(client), &headers(&[("host", "example.org:80"), ("x-forwarded-for", "1.1.1.1")]));
        let fields: Vec<_> =
            fields.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(
            fields,
            [
                ("x-forwarded-proto", "http"),
                ("x-forwarded-for", "192.0.2.7"),
                ("x-forwarded-host", "example.org:80")
            ]
        );
    }

    #[test]
    fn a_request_id_is_kept_when_well_formed() {
        assert_eq!(request_id(&headers(&[("x-request-id", "abc-1")])), "abc-1");
        assert_ne!(request_id(&headers(&[("x-request-id", "a b")])), "a b");
        assert_eq!(request_id(&headers(&[])).len(), 32);
    }
}
