//! What is sent: prepared once, so that sending it is one write.

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT,
};
use http::{Method, Uri};

use super::target::{Target, TargetError};

/// One kind of request, ready to be sent over either protocol.
#[derive(Debug, Clone)]
pub struct Request {
    /// `GET /cluster/info`.
    pub label: String,
    /// Its share of the mix is this over the sum of all weights.
    pub weight: u32,
    /// HEAD: no body comes back, whatever the head says.
    pub is_head: bool,
    /// The whole request as HTTP/1.1 has it.
    pub wire: Bytes,
    /// The same for HTTP/2.
    pub http2: http::Request<()>,
    pub body: Bytes,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    #[error("invalid method {0:?} (a right one is -m POST)")]
    Method(String),
    #[error("invalid header {0:?} (a right one is -H 'accept: application/json')")]
    Header(String),
    #[error(
        "invalid mix entry {entry:?}: {reason} (right ones are --mix '9 /cluster/info' and \
         --mix '1 POST /cluster/cpu-intensive {{\"n\":20}}')"
    )]
    Mix { entry: String, reason: String },
    #[error(transparent)]
    Target(#[from] TargetError),
}

/// What all requests of a run have in common.
#[derive(Debug, Clone)]
pub struct Common {
    pub headers: HeaderMap,
    pub keepalive: bool,
}

/// `name: value`, as many as wanted.
///
/// # Errors
/// For the first one that is no header.
pub fn parse_headers(lines: &[String]) -> Result<HeaderMap, RequestError> {
    let mut headers = HeaderMap::new();
    for line in lines {
        let refuse = || RequestError::Header(line.clone());
        let (name, value) = line.split_once(':').ok_or_else(refuse)?;
        let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| refuse())?;
        let value = HeaderValue::from_str(value.trim()).map_err(|_| refuse())?;
        headers.append(name, value);
    }
    Ok(headers)
}

/// # Errors
/// When it is not a token (RFC 9110, section 9.1).
pub fn parse_method(text: &str) -> Result<Method, RequestError> {
    Method::from_bytes(text.to_ascii_uppercase().as_bytes())
        .map_err(|_| RequestError::Method(text.to_owned()))
}

impl Request {
    /// `path` and `query` on the origin of `target`.
    ///
    /// # Errors
    /// When `path` cannot be part of a URL.
    pub fn new(
        target: &Target,
        method: &Method,
        path: &str,
        body: Bytes,
        weight: u32,
        common: &Common,
    ) -> Result<Self, RequestError> {
        let headers = complete(&common.headers, target, method, &body);
        let mut wire = format!("{method} {path} HTTP/1.1\r\n").into_bytes();
        for (name, value) in &headers {
            wire.extend_from_slice(name.as_str().as_bytes());
            wire.extend_from_slice(b": ");
            wire.extend_from_slice(value.as_bytes());
            wire.extend_from_slice(b"\r\n");
        }
        if !common.keepalive {
            wire.extend_from_slice(b"connection: close\r\n");
        }
        wire.extend_from_slice(b"\r\n");
        wire.extend_from_slice(&body);

        let authority = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or(&target.authority);
        let scheme = if target.https { "https" } else { "http" };
        let url = format!("{scheme}://{authority}{path}");
        let uri: Uri = url.parse().map_err(|_| RequestError::Mix {
            entry: path.to_owned(),
            reason: "path and host cannot be part of a URL".to_owned(),
        })?;
        let mut http2 = http::Request::new(());
        *http2.method_mut() = method.clone();
        *http2.uri_mut() = uri;
        *http2.headers_mut() = headers;
        // HTTP/2 names the host by itself and has no connection headers
        // (RFC 9113, sections 8.2.2 and 8.3.1).
        http2.headers_mut().remove(HOST);
        http2.headers_mut().remove(CONNECTION);
        *http2.version_mut() = http::Version::HTTP_2;
        Ok(Self {
            label: format!("{method} {path}"),
            weight,
            is_head: *method == Method::HEAD,
            wire: wire.into(),
            http2,
            body,
        })
    }

    /// An entry of a mix: `WEIGHT [METHOD] PATH [BODY]`, where the path may
    /// also be a URL of the same origin.
    ///
    /// # Errors
    /// When it is none, or of another origin.
    pub fn from_mix(entry: &str, target: &Target, common: &Common) -> Result<Self, RequestError> {
        let refuse = |reason: &str| RequestError::Mix { entry: entry.to_owned(), reason: reason.to_owned() };
        let (weight, rest) = word(entry).ok_or_else(|| refuse("it is empty"))?;
        let weight: u32 = weight
            .parse()
            .ok()
            .filter(|weight| (1..=1_000_000).contains(weight))
            .ok_or_else(|| refuse("its weight must be a whole number from 1 to 1000000"))?;
        let (first, rest) = word(rest).ok_or_else(|| refuse("it has no path"))?;
        let is_place = |word: &str| word.starts_with('/') || word.contains("://");
        let (method, place, body) = if is_place(first) {
            (None, first, rest)
        } else {
            let (place, rest) = word(rest).ok_or_else(|| refuse("it has no path"))?;
            (Some(parse_method(first)?), place, rest)
        };
        let path = if place.contains("://") {
            let other = Target::parse(place)?;
            if other.origin() != target.origin() {
                return Err(refuse("every entry must be on the origin of the main URL"));
            }
            other.path
        } else if place.starts_with('/') {
            place.to_owned()
        } else {
            return Err(refuse("its path must begin with /"));
        };
        let fallback = if body.is_empty() { Method::GET } else { Method::POST };
        let method = method.unwrap_or(fallback);
        Self::new(target, &method, &path, Bytes::from(body.to_owned()), weight, common)
    }
}

/// The first word, and what follows it.
fn word(text: &str) -> Option<(&str, &str)> {
    let text = text.trim();
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    (end > 0).then(|| (&text[..end], text[end..].trim_start()))
}

/// Adds what every request needs and the user has not given.
fn complete(given: &HeaderMap, target: &Target, method: &Method, body: &Bytes) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let host =
        HeaderValue::from_str(&target.authority).expect("the authority of a parsed URL is visible ASCII");
    headers.insert(HOST, host);
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("loadtest/", env!("CARGO_PKG_VERSION"))));
    if !body.is_empty() {
        let json = serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok();
        let kind = if json { "application/json" } else { "application/octet-stream" };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    // A method that usually has a body says so when it has none
    // (RFC 9110, section 8.6).
    if !body.is_empty() || [Method::POST, Method::PUT, Method::PATCH].contains(method) {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
    for name in given.keys() {
        headers.remove(name);
        for value in given.get_all(name) {
            headers.append(name, value.clone());
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn common(headers: &[&str], keepalive: bool) -> Common {
        let lines: Vec<String> = headers.iter().map(|&line| line.to_owned()).collect();
        Common { headers: parse_headers(&lines).unwrap(), keepalive }
    }

    fn target() -> Target {
        Target::parse("http://127.0.0.1:3100/").unwrap()
    }

    fn wire(request: &Request) -> String {
        String::from_utf8(request.wire.to_vec()).unwrap()
    }

    #[test]
    fn a_request_is_complete_and_the_users_headers_win() {
        let plain =
            Request::new(&target(), &Method::GET, "/a?b", Bytes::new(), 1, &common(&[], true)).unwrap();
        assert_eq!(
            wire(&plain),
            format!(
                "GET /a?b HTTP/1.1\r\nhost: 127.0.0.1:3100\r\nuser-agent: loadtest/{}\r\n\r\n",
                env!("CARGO_PKG_VERSION")
            )
        );
        let given = common(&["Host: other", "x-a: 1", "X-A: 2"], false);
        let post = Request::new(&target(), &Method::POST, "/", Bytes::from("{}"), 1, &given).unwrap();
        let text = wire(&post);
        for part in [
            "host: other\r\n",
            "x-a: 1\r\nx-a: 2\r\n",
            "content-type: application/json\r\n",
            "content-length: 2\r\n",
            "connection: close\r\n\r\n{}",
        ] {
            assert!(text.contains(part), "{part:?} in {text:?}");
        }
        assert_eq!(text.matches("host:").count(), 1);
        assert!(post.http2.headers().get(HOST).is_none());
        assert_eq!(post.http2.uri(), "http://other/");
    }

    #[test]
    fn mix_entries_have_weight_method_path_and_body() {
        let entry = |text: &str| Request::from_mix(text, &target(), &common(&[], true));
        let info = entry("9 /cluster/info").unwrap();
        assert_eq!((info.weight, info.label.as_str()), (9, "GET /cluster/info"));
        let fib = entry("1 POST /cluster/cpu-intensive {\"n\": 20}").unwrap();
        assert_eq!((fib.label.as_str(), &fib.body[..]), ("POST /cluster/cpu-intensive", &b"{\"n\": 20}"[..]));
        assert_eq!(entry("2 http://127.0.0.1:3100/x").unwrap().label, "GET /x");
        for bad in ["", "x /a", "0 /a", "1", "1 GET", "1 GET a", "1 http://127.0.0.1:1/x", "-1 /a"] {
            assert!(entry(bad).unwrap_err().to_string().contains("--mix '9 /cluster/info'"), "{bad:?}");
        }
    }

    #[test]
    fn headers_and_methods_are_checked() {
        for bad in ["no colon", ": x", "a b: c", "x: \u{7}"] {
            assert!(parse_headers(&[bad.to_owned()]).is_err(), "{bad:?}");
        }
        assert_eq!(parse_method("post").unwrap(), Method::POST);
        assert!(parse_method("P OST").is_err());
    }
}
