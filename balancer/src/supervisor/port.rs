//! Ports for programs that are told where to listen.
//!
//! Between the choice of a port and the program's bind(2) lie a fork and all of
//! the program's start, seconds at times, in which anybody may get the port: as
//! that of a listener, or of a connection that goes out. So it is reserved: a
//! socket that is bound to it with SO_REUSEADDR and never listens keeps the kernel
//! from giving it away, while a program that sets the same option, as servers do,
//! can bind it and listen (socket(7)).

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, socket_with, sockopt};

/// A port for one process, reserved until this is dropped if it can be.
#[derive(Debug)]
pub struct Port {
    pub number: u16,
    _reservation: Option<OwnedFd>,
}

impl Port {
    /// Reserves a port on the IPv4 loopback.
    ///
    /// # Errors
    /// When there is none, or no descriptor.
    pub fn reserve() -> io::Result<Self> {
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let address = SocketAddr::try_from(getsockname(&socket)?)?;
        Ok(Self { number: address.port(), _reservation: Some(socket) })
    }

    /// A port that nobody has at this moment. Whoever takes it before the program
    /// does is found out before the program gets its first request.
    ///
    /// # Errors
    /// As [`Self::reserve`].
    pub fn find() -> io::Result<Self> {
        let probe = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        Ok(Self { number: probe.local_addr()?.port(), _reservation: None })
    }

    /// For a process that finds one itself.
    pub fn any() -> Self {
        Self { number: 0, _reservation: None }
    }
}

/// Whether ports are reserved for a program: yes, until it is seen that it may
/// not be able to bind a reserved one, because it does not set SO_REUSEADDR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Custom {
    pub reserves: bool,
    /// It has got ready once this way.
    proven: bool,
}

impl Default for Custom {
    fn default() -> Self {
        Self { reserves: true, proven: false }
    }
}

impl Custom {
    /// A process got ready whose port was reserved or not.
    pub fn got_ready(&mut self, reserved: bool) {
        if self.reserves == reserved {
            self.proven = true;
        }
    }

    /// A process ended before it was ready. Returns whether the next one is to
    /// be started in the other way.
    pub fn ended_early(&mut self, reserved: bool) -> bool {
        let changes = !self.proven && self.reserves == reserved;
        if changes {
            self.reserves = !self.reserves;
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserved_port_is_free_for_who_shares_it_and_for_nobody_else() {
        let port = Port::reserve().unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.number));
        let strict =
            socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        assert_eq!(bind(&strict, &address), Err(rustix::io::Errno::ADDRINUSE));
        let listener = TcpListener::bind(address).expect("std sets SO_REUSEADDR");
        drop((listener, port));
        bind(&strict, &address).expect("given back");
    }

    #[test]
    fn all_that_end_early_change_the_custom_once_until_one_gets_ready() {
        let mut custom = Custom::default();
        assert!(custom.ended_early(true));
        assert!(!custom.ended_early(true), "started before the change");
        assert!(!custom.reserves);
        assert!(custom.ended_early(false), "that was not it: back");
        assert!(custom.reserves);
        custom.got_ready(true);
        assert!(!custom.ended_early(true), "it can, so something else was wrong");
        assert!(custom.reserves);
    }
}
