//! Ports for programs that are told where to listen.
//!
//! Between the choice of a port and the program's bind(2) lie a fork and all of
//! the program's start, seconds at times, in which anybody may get the port: as
//! that of a listener, or of a connection that goes out. So it is reserved: a
//! socket that is bound to it with SO_REUSEADDR and never listens keeps the kernel
//! from giving it away, while a program that sets the same option, as servers do,
//! can bind it and listen (socket(7)).

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, socket_with, sockopt};

/// A TCP port of the IPv4 loopback that is kept until this is dropped, for one
/// program at a time and as often as it starts again.
#[derive(Debug)]
pub struct ReservedPort {
    number: u16,
    _socket: OwnedFd,
}

impl ReservedPort {
    /// Takes one that is free.
    ///
    /// # Errors
    /// When there is none, or no descriptor.
    pub fn take() -> io::Result<Self> {
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let address = SocketAddr::try_from(getsockname(&socket)?)?;
        Ok(Self { number: address.port(), _socket: socket })
    }

    pub fn number(&self) -> u16 {
        self.number
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use rustix::io::Errno;

    use super::*;

    #[test]
    fn a_reserved_port_is_free_for_who_shares_it_and_for_nobody_else() {
        let port = ReservedPort::take().unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.number()));
        let strict =
            || socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        assert_eq!(bind(strict(), &address), Err(Errno::ADDRINUSE));
        for _ in 0..2 {
            TcpListener::bind(address).expect("std sets SO_REUSEADDR");
        }
        drop(port);
        bind(strict(), &address).expect("given back");
    }
}
