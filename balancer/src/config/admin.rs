//! Where operators find the admin listener, and under which names.

use std::net::{Ipv4Addr, SocketAddr};

/// Where the admin listener is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admin {
    /// On loopback, beside the port for clients.
    Default,
    At(SocketAddr),
    Off,
}

impl Admin {
    /// `port` is the one for clients; where that is any free one, so is this.
    pub(super) fn address(self, port: u16) -> Option<SocketAddr> {
        const ABOVE: u16 = 80;
        match self {
            Self::Default => {
                let port = if port == 0 { 0 } else { port.checked_add(ABOVE).unwrap_or(0) };
                Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
            }
            Self::At(address) => Some(address),
            Self::Off => None,
        }
    }
}

pub(super) fn parse_admin(text: &str) -> Option<Admin> {
    if text == "off" {
        return Some(Admin::Off);
    }
    let port = || text.parse().ok().map(|port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    text.parse().ok().or_else(port).map(Admin::At)
}

pub(super) fn parse_names(text: &str) -> Option<Vec<String>> {
    let names: Vec<_> = text.split(',').map(|name| name.trim().to_ascii_lowercase()).collect();
    let is_name = |name: &String| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
    };
    names.iter().all(is_name).then_some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_admin_listener_lies_beside_the_port_for_clients() {
        let at = |text: &str, port| parse_admin(text).map(|admin| admin.address(port).map(|a| a.to_string()));
        assert_eq!(Admin::Default.address(3100).unwrap().to_string(), "127.0.0.1:3180");
        assert_eq!(Admin::Default.address(0).unwrap().port(), 0);
        assert_eq!(Admin::Default.address(65_500).unwrap().port(), 0, "any free one");
        assert_eq!(at("off", 3100), Some(None));
        assert_eq!(at("9000", 3100), Some(Some("127.0.0.1:9000".to_owned())));
        assert_eq!(at("[::1]:9000", 3100), Some(Some("[::1]:9000".to_owned())));
        for bad in ["", "on", "localhost", "1.2.3.4", "70000"] {
            assert_eq!(parse_admin(bad), None, "{bad:?}");
        }
    }
}
