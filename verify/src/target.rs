//! Where the cluster is, from the URL that the user gave.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use http::Uri;
use shared_http_client::Address;

/// The base of all URLs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub https: bool,
    pub host: String,
    pub port: u16,
    /// Where to connect instead of host and port; an abstract one begins with a zero byte.
    socket: Option<PathBuf>,
    /// What comes before every path; empty, or like `/base`.
    prefix: String,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    #[error("it is no URL; a right one is http://127.0.0.1:3100")]
    Malformed,
    #[error("only http://, https:// and unix: are supported; a right one is http://127.0.0.1:3100")]
    Scheme,
    #[error("a socket's path has from 1 to 107 bytes and no options; a right one is unix:/run/app.sock")]
    Socket,
    #[error("a URL with a query cannot be the base of others; a right one is http://127.0.0.1:3100")]
    Query,
}

impl Target {
    pub fn at(address: SocketAddr) -> Self {
        let host = address.ip().to_string();
        Self { https: false, host, port: address.port(), socket: None, prefix: String::new() }
    }

    /// The same by HTTPS.
    pub fn secured(self) -> Self {
        Self { https: true, ..self }
    }

    /// Where plain HTTP is by custom, beside HTTPS at port 443.
    pub fn plain_by_custom(&self) -> Option<Self> {
        (self.https && self.port == 443).then(|| Self { https: false, port: 80, ..self.clone() })
    }

    pub fn address(&self) -> Address {
        match &self.socket {
            Some(path) => Address::Unix(path.clone()),
            None => Address::Tcp { host: self.host.clone(), port: self.port },
        }
    }

    pub fn path(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        if let Some(rest) = text.strip_prefix("unix:") {
            return of_socket(rest);
        }
        // "localhost:3100" is what people type.
        let full = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let uri: Uri = full.parse().map_err(|_| TargetError::Malformed)?;
        let https = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(TargetError::Scheme),
        };
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
        let port = authority.port_u16().unwrap_or(if https { 443 } else { 80 });
        Ok(Self { https, host: host.to_owned(), port, socket: None, prefix })
    }
}

/// `/run/app.sock`, `@abstract`, or with a prefix of all paths behind a colon, as nginx
/// writes it.
fn of_socket(text: &str) -> Result<Target, TargetError> {
    let (socket, prefix) = text.split_once(':').unwrap_or((text, ""));
    let is_path = prefix.is_empty() || prefix.starts_with('/');
    if socket.is_empty() || socket == "@" || socket.len() > 107 || socket.contains('?') || !is_path {
        return Err(TargetError::Socket);
    }
    if prefix.contains('?') {
        return Err(TargetError::Query);
    }
    let path = socket.strip_prefix('@').map_or_else(|| socket.to_owned(), |name| format!("\0{name}"));
    let prefix = prefix.trim_end_matches('/').to_owned();
    Ok(Target { https: false, host: "localhost".to_owned(), port: 80, socket: Some(path.into()), prefix })
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.socket {
            let colon = if self.prefix.is_empty() { "" } else { ":" };
            let path = path.display().to_string().replace('\0', "@");
            return write!(f, "unix:{path}{colon}{}", self.prefix);
        }
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.address().authority(), self.prefix)
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
        assert_eq!(parsed("https://example.com").unwrap(), "https://example.com:443");
        assert_eq!(parsed("unix:/run/app.sock").unwrap(), "unix:/run/app.sock");
        assert_eq!(parsed("unix:@app:/base/").unwrap(), "unix:@app:/base");
    }

    #[test]
    fn what_is_no_url_is_refused() {
        assert_eq!(parsed("ftp://127.0.0.1:3100"), Err(TargetError::Scheme));
        for bad in ["unix:", "unix:@", "unix:/a?mode=660", "unix:/a:b"] {
            assert_eq!(parsed(bad), Err(TargetError::Socket), "{bad}");
        }
        assert_eq!(parsed("http://127.0.0.1:99999"), Err(TargetError::Malformed));
        assert_eq!(parsed("http://127.0.0.1:x"), Err(TargetError::Malformed));
        assert_eq!(parsed(""), Err(TargetError::Malformed));
        assert_eq!(parsed("http://h/?a=1"), Err(TargetError::Query));
    }
}
