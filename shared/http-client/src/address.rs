//! Where a server listens.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// A TCP address or the path of a Unix socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    Tcp {
        /// A name or an IP address, without brackets.
        host: String,
        port: u16,
    },
    Unix(PathBuf),
}

impl Address {
    /// The value of the `Host` field (RFC 9110, section 7.2). A Unix socket has no
    /// authority of its own; servers expect `localhost` there.
    pub fn authority(&self) -> String {
        match self {
            Self::Tcp { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            Self::Tcp { host, port } => format!("{host}:{port}"),
            Self::Unix(_) => "localhost".to_owned(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { .. } => f.write_str(&self.authority()),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp { host: address.ip().to_string(), port: address.port() }
    }
}

impl From<&Path> for Address {
    fn from(path: &Path) -> Self {
        Self::Unix(path.to_owned())
    }
}

impl From<PathBuf> for Address {
    fn from(path: PathBuf) -> Self {
        Self::Unix(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_are_those_of_urls() {
        let address = |text: &str| Address::from(text.parse::<SocketAddr>().unwrap());
        assert_eq!(address("127.0.0.1:80").authority(), "127.0.0.1:80");
        assert_eq!(address("[::1]:3100").authority(), "[::1]:3100");
        assert_eq!(Address::from(Path::new("/run/c.sock")).authority(), "localhost");
        assert_eq!(Address::from(Path::new("/run/c.sock")).to_string(), "/run/c.sock");
    }
}
