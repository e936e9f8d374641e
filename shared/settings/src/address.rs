//! Addresses that settings name: how to reach one, and why one could not be bound.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::definitions::{HOST, PORT};

/// Where a client on this machine reaches a program that listens on `host` and
/// `port`: who listens on all addresses also listens on loopback.
pub fn reachable_address(host: IpAddr, port: u16) -> SocketAddr {
    let host = match host {
        IpAddr::V4(host) if host.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(host) if host.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        host => host,
    };
    SocketAddr::new(host, port)
}

/// Why `address` could not be bound, and what to do about it.
pub fn describe_bind_error(address: SocketAddr, err: &io::Error) -> String {
    let why = match err.kind() {
        io::ErrorKind::AddrInUse => format!("address in use (set {})", PORT.names()),
        io::ErrorKind::AddrNotAvailable => format!("not an address of this machine (set {})", HOST.names()),
        io::ErrorKind::PermissionDenied => "permission denied (ports below 1024 need privileges)".to_owned(),
        _ => err.to_string(),
    };
    format!("could not bind {address}: {why}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_addresses_are_reached_on_loopback() {
        let reached = |host: &str| reachable_address(host.parse().unwrap(), 80).to_string();
        assert_eq!(reached("0.0.0.0"), "127.0.0.1:80");
        assert_eq!(reached("::"), "[::1]:80");
        assert_eq!(reached("192.0.2.1"), "192.0.2.1:80");
    }
}
