//! Who listens on an address.

use std::net::{IpAddr, SocketAddr};

use procfs::net::{TcpNetEntry, TcpState};
use procfs::process::{FDTarget, Process};

/// A process that listens, as far as the system tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    pub pid: u32,
    /// The first 15 bytes of its executable's name (proc_pid_comm(5)).
    pub name: String,
}

/// The processes that keep others from listening on `address`, the oldest first: those that
/// listen on it, or on all addresses. None of another user, whose descriptors are not shown.
pub fn listeners_of(address: SocketAddr) -> Vec<Listener> {
    let sockets = [procfs::net::tcp(), procfs::net::tcp6()].into_iter().flatten().flatten();
    let inodes: Vec<u64> =
        sockets.filter(|socket| collides(socket, address)).map(|socket| socket.inode).collect();
    if inodes.is_empty() {
        return Vec::new();
    }
    let owns = |process: &Process| {
        let mut files = process.fd().into_iter().flatten().flatten();
        files.any(|file| matches!(file.target, FDTarget::Socket(inode) if inodes.contains(&inode)))
    };
    let all = procfs::process::all_processes().into_iter().flatten().flatten();
    let listener = |process: Process| {
        let name = process.stat().map_or_else(|_| "a program".to_owned(), |stat| stat.comm);
        Listener { pid: process.pid.cast_unsigned(), name }
    };
    let mut found: Vec<_> = all.filter(owns).map(listener).collect();
    found.sort_by_key(|listener| listener.pid);
    found
}

fn collides(socket: &TcpNetEntry, address: SocketAddr) -> bool {
    let (theirs, ours) = (socket.local_address.ip().to_canonical(), address.ip());
    // Who listens on all addresses of IPv6 listens on those of IPv4 as well, unless told otherwise.
    let all = |ip: IpAddr| ip.is_unspecified();
    socket.state == TcpState::Listen
        && socket.local_address.port() == address.port()
        && (theirs == ours || all(theirs) || all(ours))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_listener_is_found_by_any_address_that_it_takes() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let own = std::process::id();
        let on_all = SocketAddr::from(([0, 0, 0, 0], address.port()));
        for address in [address, on_all] {
            assert_eq!(listeners_of(address).iter().map(|found| found.pid).collect::<Vec<_>>(), [own]);
        }
        assert_eq!(listeners_of(SocketAddr::from(([127, 0, 0, 2], address.port()))), []);
        drop(listener);
        assert_eq!(listeners_of(address), []);
    }
}
