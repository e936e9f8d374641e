//! The port that a process is told to listen on.

use std::io;
use std::net::{Ipv4Addr, TcpListener};

use shared_process::port::ReservedPort;

use balancer_fleet::PortChoice;

/// Held as long as the process lives.
#[derive(Debug)]
pub(crate) enum Port {
    /// The process finds one itself.
    Own,
    Reserved(ReservedPort),
    /// Was free when it was looked for. Whoever takes it before the process does
    /// is found out before the process gets its first request.
    Free(u16),
    /// The process inherits a socket that listens on it.
    Passed(TcpListener, u16),
}

impl Port {
    /// # Errors
    /// When there is no port left, or no descriptor.
    pub(crate) fn take(choice: PortChoice) -> io::Result<Self> {
        Ok(match choice {
            PortChoice::Own => Self::Own,
            PortChoice::Reserved => Self::Reserved(ReservedPort::take()?),
            PortChoice::Free => {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
                Self::Free(listener.local_addr()?.port())
            }
        })
    }

    /// A socket that listens on a port of its own, for the process to inherit.
    ///
    /// # Errors
    /// When there is no port left, or no descriptor.
    pub(crate) fn listen() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        Ok(Self::Passed(listener, port))
    }

    /// As the process is told; 0 stands for any.
    pub(crate) fn number(&self) -> u16 {
        match self {
            Self::Own => 0,
            Self::Reserved(port) => port.number(),
            &(Self::Free(number) | Self::Passed(_, number)) => number,
        }
    }
}
