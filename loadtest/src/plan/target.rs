//! Where the load goes: a URL, parsed, and found on the network.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use http::Uri;

/// The origin of a URL and the path on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub https: bool,
    /// Without brackets.
    pub host: String,
    pub port: u16,
    /// As the `Host` header has it.
    pub authority: String,
    /// Path and query; `/` at least.
    pub path: String,
    /// Where to connect instead of host and port. An abstract socket begins with a
    /// zero byte, as in unix(7).
    pub socket: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid URL {url:?}: {reason} (a right one is http://127.0.0.1:3100/cluster/info)")]
pub struct TargetError {
    url: String,
    reason: String,
}

impl Target {
    /// Takes `http://`, `https://` and `unix:/SOCKET:/PATH`, in which the path may be
    /// missing; no scheme means `http://`.
    ///
    /// # Errors
    /// When it is no URL, or one of another scheme, or has no host.
    pub fn parse(url: &str) -> Result<Self, TargetError> {
        if let Some(rest) = url.strip_prefix("unix:") {
            return Self::parse_unix(url, rest);
        }
        let refuse = |reason: &str| TargetError { url: url.to_owned(), reason: reason.to_owned() };
        let full = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let full = full.split('#').next().unwrap_or_default();
        let uri: Uri = full.parse().map_err(|err: http::uri::InvalidUri| refuse(&err.to_string()))?;
        let https = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(refuse("the scheme must be http, https or unix")),
        };
        let authority = uri.authority().ok_or_else(|| refuse("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(refuse("user and password go into -H 'authorization: …'"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(refuse("it has no host"));
        }
        let written = &authority.as_str()[authority.host().len()..];
        if !written.is_empty() && authority.port_u16().is_none() {
            return Err(refuse("its port must be a number from 1 to 65535"));
        }
        let port = authority.port_u16().unwrap_or(if https { 443 } else { 80 });
        if port == 0 {
            return Err(refuse("its port must be a number from 1 to 65535"));
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { https, host, port, authority: authority.to_string(), path, socket: None })
    }

    /// As nginx writes it, so that a socket's path ends where a colon is.
    fn parse_unix(url: &str, rest: &str) -> Result<Self, TargetError> {
        let refuse = |reason: &str| TargetError { url: url.to_owned(), reason: reason.to_owned() };
        let (socket, path) = match rest.split_once(':') {
            Some((socket, path)) => (socket, path.split('#').next().unwrap_or_default()),
            None => (rest, "/"),
        };
        let path = if path.is_empty() { "/" } else { path };
        if !path.starts_with('/') || path.parse::<http::uri::PathAndQuery>().is_err() {
            return Err(refuse(
                "the path behind the socket must begin with /, as in unix:/run/app.sock:/cluster/info",
            ));
        }
        if socket.contains('?') {
            return Err(refuse("options behind ? are for listeners, not for clients"));
        }
        // sun_path has 108 bytes (unix(7)).
        if socket.is_empty() || socket == "@" || socket.len() > 107 {
            return Err(refuse("a socket's path has from 1 to 107 bytes, as in unix:/run/app.sock"));
        }
        let socket = match socket.strip_prefix('@') {
            Some(name) => format!("\0{name}"),
            None => socket.to_owned(),
        };
        // There is no authority; servers expect localhost.
        Ok(Self {
            https: false,
            host: "localhost".to_owned(),
            port: 80,
            authority: "localhost".to_owned(),
            path: path.to_owned(),
            socket: Some(socket.into()),
        })
    }

    /// `http://127.0.0.1:3100`, without a path.
    pub fn origin(&self) -> String {
        format!("{}://{}", if self.https { "https" } else { "http" }, self.authority)
    }

    /// As people read it: with the socket, when there is one.
    pub fn name(&self) -> String {
        match &self.socket {
            Some(socket) => format!("unix:{}", socket.display().to_string().replace('\0', "@")),
            None => self.origin(),
        }
    }

    /// The addresses behind the host, IPv4 first, as `localhost` on IPv6 is
    /// more often unserved than wanted.
    ///
    /// # Errors
    /// When the name is unknown.
    pub fn resolve(&self) -> std::io::Result<Vec<SocketAddr>> {
        let mut found: Vec<SocketAddr> = (self.host.as_str(), self.port).to_socket_addrs()?.collect();
        found.sort_by_key(SocketAddr::is_ipv6);
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_as_people_write_them() {
        let target = Target::parse("http://127.0.0.1:3100/cluster/info?x=1#part").unwrap();
        assert_eq!((target.port, target.path.as_str()), (3100, "/cluster/info?x=1"));
        assert_eq!(target.origin(), "http://127.0.0.1:3100");
        let short = Target::parse("localhost:8080").unwrap();
        assert_eq!((short.host.as_str(), short.port, short.path.as_str()), ("localhost", 8080, "/"));
        let secure = Target::parse("https://example.test?q").unwrap();
        assert_eq!((secure.https, secure.port, secure.path.as_str()), (true, 443, "/?q"));
        let v6 = Target::parse("http://[::1]:3100/a").unwrap();
        assert_eq!((v6.host.as_str(), v6.authority.as_str()), ("::1", "[::1]:3100"));
        assert_eq!(v6.resolve().unwrap(), ["[::1]:3100".parse().unwrap()]);
    }

    #[test]
    fn sockets_are_written_as_nginx_has_them() {
        let parsed = |url: &str| {
            let target = Target::parse(url).unwrap();
            (target.socket.unwrap().to_str().unwrap().to_owned(), target.path)
        };
        assert_eq!(parsed("unix:/run/app.sock"), ("/run/app.sock".to_owned(), "/".to_owned()));
        assert_eq!(
            parsed("unix:/run/app.sock:/a?b=1:2"),
            ("/run/app.sock".to_owned(), "/a?b=1:2".to_owned())
        );
        assert_eq!(parsed("unix:app.sock:"), ("app.sock".to_owned(), "/".to_owned()));
        assert_eq!(parsed("unix:@app").0, "\0app");
        for bad in ["unix:", "unix:@", "unix::/a", "unix:/a:b", "unix:/run/app.sock?mode=660", "unix:/a:/b c"]
        {
            assert!(Target::parse(bad).unwrap_err().to_string().contains("invalid URL \"unix:"), "{bad}");
        }
        assert!(Target::parse(&format!("unix:/{}", "x".repeat(107))).is_err());
    }

    #[test]
    fn what_is_no_url_is_refused_with_an_example() {
        for bad in [
            "",
            "ftp://x/",
            "http://",
            "http://:80/",
            "http://a b/",
            "http://x:99999/",
            "http://x:0/",
            "http://u:p@x/",
        ] {
            let err = Target::parse(bad).unwrap_err().to_string();
            assert!(err.contains("a right one is http://127.0.0.1:3100/cluster/info"), "{bad:?}: {err}");
        }
    }
}
