//! A listener that answers every request with where it is found over HTTPS, but for what a
//! certificate authority looks for over plain HTTP.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use balancer_http1::{HttpError, RequestHead};
use balancer_state::response::Response;

use crate::field::ProxyField;
use crate::responses;

/// Where a certificate authority looks for the answer to its challenge (RFC 8555, section
/// 8.3).
const CHALLENGE: &[u8] = b"/.well-known/acme-challenge/";
const HTTPS_PORT: u16 = 443;

/// What requests over plain HTTP are answered with.
#[derive(Debug, Clone)]
pub struct Redirect {
    /// The port of HTTPS, as clients know it.
    https_port: u16,
    challenges: Arc<AcmeChallenges>,
}

/// Answers to the challenges of a certificate authority: the key authorization of each token.
/// Read only for paths that are a challenge's.
#[derive(Debug, Default)]
pub struct AcmeChallenges(RwLock<HashMap<String, String>>);

impl AcmeChallenges {
    /// From now on, whoever asks for `token` gets `key_authorization`.
    pub fn insert(&self, token: String, key_authorization: String) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(token, key_authorization);
    }

    pub fn remove(&self, token: &str) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(token);
    }

    /// The response for `path`, if it is that of a token that is known here.
    pub(crate) fn response(&self, path: &[u8]) -> Option<Response> {
        let token = std::str::from_utf8(path.strip_prefix(CHALLENGE)?).ok()?;
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let answer = known.get(token)?.clone();
        Some(Response::new(200, "application/octet-stream", answer))
    }
}

impl Redirect {
    pub fn new(https_port: u16, challenges: Arc<AcmeChallenges>) -> Self {
        Self { https_port, challenges }
    }

    pub(crate) fn response(&self, request: &RequestHead<'_, ProxyField>) -> Response {
        let is_read = matches!(request.method, b"GET" | b"HEAD");
        let challenge = if is_read { self.challenges.response(request.resource.path) } else { None };
        challenge.unwrap_or_else(|| match self.location(request) {
            // Clients of any age know 301, and make a GET of other methods, which 308 keeps
            // (RFC 9110, sections 15.4.2 and 15.4.9).
            Some(location) => Response::new(if is_read { 301 } else { 308 }, "text/plain; charset=utf-8", "")
                .with("location", location),
            None => responses::for_http_error(NO_HOST),
        })
    }

    /// The request's own address over HTTPS. It is the host that the client has asked for,
    /// and so leads nobody where they were not.
    fn location(&self, request: &RequestHead<'_, ProxyField>) -> Option<String> {
        let host = host_name(std::str::from_utf8(request.host?).ok()?)?;
        let path = std::str::from_utf8(request.resource.path).ok()?;
        let path = if path == "*" { "" } else { path };
        let slash = if path.starts_with('/') { "" } else { "/" };
        Some(match self.https_port {
            HTTPS_PORT => format!("https://{host}{slash}{path}"),
            port => format!("https://{host}:{port}{slash}{path}"),
        })
    }
}

const NO_HOST: HttpError = HttpError::bad("the Host field has to name the host that is meant");

/// The host without its port, if it is a name as DNS has them, or an address.
fn host_name(host: &str) -> Option<&str> {
    if host.starts_with('[') {
        // The parser of heads has looked at the address.
        return host.find(']').map(|end| &host[..=end]);
    }
    let name = host.split(':').next()?;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    (!name.is_empty() && name.bytes().all(fits)).then_some(name)
}

#[cfg(test)]
mod tests {
    use balancer_http1::FieldBuffer;

    use super::*;

    /// Status, and location or body.
    fn answer(redirect: &Redirect, head: &str) -> (u16, String) {
        let mut buffer = FieldBuffer::default();
        let head = format!("{head}\r\n\r\n");
        let response = match RequestHead::parse(head.as_bytes(), &mut buffer) {
            Ok(request) => redirect.response(&request),
            Err(error) => responses::for_http_error(error),
        };
        let location = response.extra.iter().find(|(name, _)| *name == "location");
        let text =
            location.map_or_else(|| String::from_utf8_lossy(&response.body).into_owned(), |l| l.1.clone());
        (response.status, text)
    }

    fn at(https_port: u16) -> Redirect {
        Redirect::new(https_port, Arc::default())
    }

    #[test]
    fn the_same_address_is_found_over_https() {
        for (head, port, expected) in [
            ("GET /a?b=c HTTP/1.1\r\nHost: a.example", 443, "https://a.example/a?b=c"),
            ("HEAD / HTTP/1.1\r\nHost: a.example:80", 443, "https://a.example/"),
            ("GET / HTTP/1.1\r\nHost: A.Example:8080", 8443, "https://A.Example:8443/"),
            ("GET / HTTP/1.0\r\nHost: 192.0.2.1", 443, "https://192.0.2.1/"),
            ("GET / HTTP/1.1\r\nHost: [2001:db8::1]:80", 443, "https://[2001:db8::1]/"),
            ("GET http://a.example/x HTTP/1.1\r\nHost: a.example", 443, "https://a.example/x"),
            ("GET http://a.example?q HTTP/1.1\r\nHost: a.example", 443, "https://a.example/?q"),
            ("GET //evil.example/ HTTP/1.1\r\nHost: a.example", 443, "https://a.example//evil.example/"),
            ("GET /\\evil.example HTTP/1.1\r\nHost: a.example", 443, "https://a.example/\\evil.example"),
        ] {
            assert_eq!(answer(&at(port), head), (301, expected.to_owned()), "{head}");
        }
    }

    #[test]
    fn other_methods_stay_what_they_are() {
        for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
            let head = format!("{method} /a HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3");
            assert_eq!(answer(&at(443), &head), (308, "https://a.example/a".to_owned()));
        }
        let all = "OPTIONS * HTTP/1.1\r\nHost: a.example";
        assert_eq!(answer(&at(443), all), (308, "https://a.example/".to_owned()));
    }

    #[test]
    fn without_a_host_that_is_one_nobody_is_led_anywhere() {
        for head in [
            "GET / HTTP/1.0",
            "GET / HTTP/1.1\r\nHost:",
            "GET / HTTP/1.1",
            "GET / HTTP/1.1\r\nHost: a.example\r\nHost: b.example",
            "GET / HTTP/1.1\r\nHost: a.example/b",
            "GET / HTTP/1.1\r\nHost: user@a.example",
            "GET / HTTP/1.1\r\nHost: a.example%0d%0aSet-Cookie:x",
            "GET / HTTP/1.1\r\nHost: a;b",
            "GET / HTTP/1.1\r\nHost: :80",
            "GET http://b.example/ HTTP/1.1\r\nHost: a.example",
        ] {
            assert_eq!(answer(&at(443), head).0, 400, "{head}");
        }
    }

    #[test]
    fn a_certificate_authority_finds_what_it_looks_for() {
        let challenges = Arc::new(AcmeChallenges::default());
        let redirect = Redirect::new(443, Arc::clone(&challenges));
        let ask = |token: &str| {
            answer(&redirect, &format!("GET /.well-known/acme-challenge/{token} HTTP/1.1\r\nHost: a.example"))
        };
        challenges.insert("token".to_owned(), "token.thumbprint".to_owned());
        assert_eq!(ask("token"), (200, "token.thumbprint".to_owned()));
        assert_eq!(ask("other").0, 301, "whoever else has asked for a certificate");
        assert_eq!(ask("").0, 301);
        challenges.remove("token");
        assert_eq!(ask("token").0, 301);
    }
}
