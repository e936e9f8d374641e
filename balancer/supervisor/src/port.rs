//! The port that a process is told to listen on.

use std::io;
use std::net::{Ipv4Addr, TcpListener};

use shared_process::port::ReservedPort;

/// Kept as long as the process lives.
#[derive(Debug)]
pub enum Port {
    /// The process finds one itself.
    Any,
    Reserved(ReservedPort),
    /// Was free when it was looked for. Whoever takes it before the process does
    /// is found out before the process gets its first request.
    Found(u16),
}

impl Port {
    /// # Errors
    /// When there is none, or no descriptor.
    pub fn reserve() -> io::Result<Self> {
        ReservedPort::take().map(Self::Reserved)
    }

    /// # Errors
    /// As [`Self::reserve`].
    pub fn find() -> io::Result<Self> {
        let probe = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        Ok(Self::Found(probe.local_addr()?.port()))
    }

    pub fn number(&self) -> u16 {
        match self {
            Self::Any => 0,
            Self::Reserved(port) => port.number(),
            &Self::Found(number) => number,
        }
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
