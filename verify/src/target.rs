//! Where the cluster is, from the URL that the user gave.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use http::Uri;
use shared_http_client::Address;

/// A plain-HTTP base URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub host: String,
    pub port: u16,
    /// What comes before every path; empty, or like `/base`.
    prefix: String,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    #[error("it is no URL; a right one is http://127.0.0.1:3100")]
    Malformed,
    #[error("only http:// is supported; a right one is http://127.0.0.1:3100")]
    Scheme,
    #[error("a URL with a query cannot be the base of others; a right one is http://127.0.0.1:3100")]
    Query,
}

impl Target {
    pub fn at(address: SocketAddr) -> Self {
        Self { host: address.ip().to_string(), port: address.port(), prefix: String::new() }
    }

    pub fn address(&self) -> Address {
        Address::Tcp { host: self.host.clone(), port: self.port }
    }

    pub fn path(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        // "localhost:3100" is what people type.
        let full = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let uri: Uri = full.parse().map_err(|_| TargetError::Malformed)?;
        if uri.scheme_str() != Some("http") {
            return Err(TargetError::Scheme);
        }
        if uri.query().is_some() {
            return Err(TargetError::Query);
        }
        let authority = uri.authority().ok_or(TargetError::Malformed)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        // A port that is no number would otherwise count as none.
        let has_port = authority.as_str().rsplit_once(':').is_some_and(|(_, rest)| !rest.ends_with(']'));
        if host.is_empty() || (has_port && authority.port_u16().is_none()) {
            return Err(TargetError::Malformed);
        }
        let prefix = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { host: host.to_owned(), port: authority.port_u16().unwrap_or(80), prefix })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.address().authority(), self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<String, TargetError> {
        text.parse::<Target>().map(|target| target.to_string())
    }

    #[test]
    fn urls_as_people_write_them() {
        assert_eq!(parsed("http://127.0.0.1:3100").unwrap(), "http://127.0.0.1:3100");
        assert_eq!(parsed("http://127.0.0.1:3100/").unwrap(), "http://127.0.0.1:3100");
        assert_eq!(parsed("localhost:3100").unwrap(), "http://localhost:3100");
        assert_eq!(parsed("http://example.com/base/").unwrap(), "http://example.com:80/base");
        assert_eq!(parsed("http://[::1]:3100").unwrap(), "http://[::1]:3100");
        assert_eq!(parsed("http://[::1]").unwrap(), "http://[::1]:80");
    }

    #[test]
    fn what_is_no_url_is_refused() {
        assert_eq!(parsed("https://127.0.0.1:3100"), Err(TargetError::Scheme));
        assert_eq!(parsed("http://127.0.0.1:99999"), Err(TargetError::Malformed));
        assert_eq!(parsed("http://127.0.0.1:x"), Err(TargetError::Malformed));
        assert_eq!(parsed(""), Err(TargetError::Malformed));
        assert_eq!(parsed("http://h/?a=1"), Err(TargetError::Query));
    }
}
