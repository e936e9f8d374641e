//! What is sent.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HOST};
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Method, Uri};
use http_body_util::Full;
use serde_json::Value;

use crate::ClientError;

/// A request. What is not valid in it shows when it is sent.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: Method,
    /// With the query, if there is one.
    pub path: String,
    /// In the Host field, instead of the server's address.
    host: Option<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
    /// The first part that is not valid, and what it was to be.
    invalid: Option<(String, &'static str)>,
}

impl Request {
    pub fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), host: None, headers: Vec::new(), body: Bytes::new(), invalid: None }
    }

    pub fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    pub fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path)
    }

    /// A POST without a body.
    pub fn post_empty(path: impl Into<String>) -> Self {
        Self::new(Method::POST, path)
    }

    /// A POST of JSON.
    pub fn post(path: impl Into<String>, body: &Value) -> Self {
        Self::new(Method::POST, path).body("application/json", body.to_string())
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        match (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            (Ok(name), Ok(value)) => self.headers.push((name, value)),
            (Err(_), _) => self.refuse(name, "header name"),
            (_, Err(_)) => self.refuse(value, "header value"),
        }
        self
    }

    /// Asks for this host instead of the server's address.
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.host = Some(host.into());
        self
    }

    /// `kind` is the body's media type.
    pub fn body(self, kind: &str, body: impl Into<Bytes>) -> Self {
        let mut request = self.header(CONTENT_TYPE.as_str(), kind);
        request.body = body.into();
        request
    }

    /// Method and path, for messages.
    pub fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// Asks the server to close the connection behind the response.
    pub(crate) fn close(mut self) -> Self {
        self.headers.push((CONNECTION, HeaderValue::from_static("close")));
        self
    }

    /// As HTTP/2 has it: the authority in place of the Host field, and no field about the
    /// connection (RFC 9113, sections 8.2.2 and 8.3.1).
    pub(crate) fn into_http2(
        self,
        scheme: &str,
        authority: &str,
    ) -> Result<http::Request<Full<Bytes>>, ClientError> {
        let mut message = self.into_http(authority)?;
        message.headers_mut().remove(CONNECTION);
        let host = message.headers_mut().remove(HOST);
        let host = host.as_ref().and_then(|host| host.to_str().ok()).unwrap_or(authority);
        let path = message.uri().path_and_query().map_or("/", PathAndQuery::as_str).to_owned();
        let uri = Uri::builder().scheme(scheme).authority(host).path_and_query(path).build();
        *message.uri_mut() = uri.map_err(|_| ClientError::InvalidRequest(host.to_owned(), "host"))?;
        *message.version_mut() = http::Version::HTTP_2;
        Ok(message)
    }

    fn refuse(&mut self, text: &str, kind: &'static str) {
        self.invalid.get_or_insert_with(|| (text.to_owned(), kind));
    }

    pub(crate) fn into_http(mut self, authority: &str) -> Result<http::Request<Full<Bytes>>, ClientError> {
        let path = PathAndQuery::try_from(self.path.as_str());
        if path.is_err() {
            let path = self.path.clone();
            self.refuse(&path, "path");
        }
        let name = self.host.take().unwrap_or_else(|| authority.to_owned());
        let host = HeaderValue::try_from(name.as_str());
        if host.is_err() {
            self.refuse(&name, "host");
        }
        match (path, host, self.invalid) {
            (Ok(path), Ok(host), None) => {
                let mut message = http::Request::new(Full::new(self.body));
                *message.method_mut() = self.method;
                *message.uri_mut() = Uri::from(path);
                message.headers_mut().insert(HOST, host);
                message.headers_mut().extend(self.headers);
                Ok(message)
            }
            (_, _, invalid) => {
                let (text, kind) = invalid.unwrap_or_default();
                Err(ClientError::InvalidRequest(text, kind))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_valid_is_named() {
        let why = |request: Request| request.into_http("h:1").unwrap_err().to_string();
        assert_eq!(why(Request::get("/a b")), r#"invalid request: "/a b" is not a valid path"#);
        assert!(why(Request::get("/").header("a b", "c")).contains("header name"));
        assert!(why(Request::get("/").header("a", "c\n")).contains("header value"));
        assert!(Request::get("/").into_http("h\n").is_err());
        assert!(why(Request::get("/").host("a\n")).contains("host"));
    }

    #[test]
    fn own_fields_follow_the_host() {
        let message = Request::post("/x?y", &Value::Null).header("a", "b").close().into_http("h:1").unwrap();
        assert_eq!((message.method(), message.uri().to_string()), (&Method::POST, "/x?y".to_owned()));
        let fields: Vec<&str> = message.headers().keys().map(HeaderName::as_str).collect();
        assert_eq!(fields, ["host", "content-type", "a", "connection"]);
        let message = Request::get("/").host("localhost").into_http("h:1").unwrap();
        let hosts: Vec<_> = message.headers().get_all(HOST).iter().collect();
        assert_eq!(hosts, ["localhost"]);
    }
}
