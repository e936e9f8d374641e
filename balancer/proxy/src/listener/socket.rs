//! Listening sockets.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, sockopt};

/// Connections that the kernel may hold until they are accepted.
const BACKLOG: i32 = 4096;

/// After so long without a byte the kernel asks whether the client is there.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// Questions without an answer after which the client is gone.
const KEEPALIVE_COUNT: u32 = 6;
/// How long bytes may stay unacknowledged, in milliseconds: as long as it takes to find out
/// an idle client.
const USER_TIMEOUT_MS: u32 = 120_000;

/// Binds `address`. Port 0 takes a free one.
///
/// # Errors
/// When the address is in use, or is not one of this machine.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    open(address, false).map(TcpListener::from)
}

fn open(address: SocketAddr, shared: bool) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    // A restart may take the port while old connections linger in TIME_WAIT (socket(7)).
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, shared)?;
    // Small responses leave at once. Linux hands this down to accepted connections, which
    // spares each of them a system call.
    sockopt::set_tcp_nodelay(&socket, true)?;
    detect_dead_peers(&socket)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// Has the kernel find out clients that are gone without a word, such as those behind a link
/// that went down: idle ones by probes (SO_KEEPALIVE), others by what they do not
/// acknowledge (tcp(7)). Accepted connections inherit all of it.
fn detect_dead_peers(listener: &OwnedFd) -> io::Result<()> {
    sockopt::set_socket_keepalive(listener, true)?;
    sockopt::set_tcp_keepidle(listener, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(listener, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(listener, KEEPALIVE_COUNT)?;
    sockopt::set_tcp_user_timeout(listener, USER_TIMEOUT_MS)?;
    Ok(())
}

/// Makes listeners for `threads` threads where `first` listens, which keeps the
/// connections that have come already. A program that wants the port for itself, as
/// another cluster does, finds it in use; only a program of the same user that asks to
/// share it could.
pub(super) fn divide(first: TcpListener, threads: usize) -> io::Result<Vec<Vec<TcpListener>>> {
    let address = first.local_addr()?;
    let mut divided = vec![vec![]];
    if threads > 1 {
        sockopt::set_socket_reuseport(&first, true)?;
        let own = (0..threads).map(|_| Ok(vec![TcpListener::from(open(address, true)?)]));
        divided = own.collect::<io::Result<_>>()?;
    }
    divided[0].push(first);
    Ok(divided)
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use rustix::io::Errno;

    use super::*;

    #[test]
    fn accepted_connections_inherit_what_detects_dead_peers() {
        let first = bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = first.local_addr().unwrap();
        let listeners = divide(first, 2).unwrap();
        let _clients: Vec<_> = (0..20).map(|_| TcpStream::connect(address).unwrap()).collect();
        for listener in listeners.iter().flatten() {
            for (socket, _) in std::iter::from_fn(|| listener.accept().ok()) {
                assert!(sockopt::socket_keepalive(&socket).unwrap());
                assert_eq!(sockopt::tcp_keepidle(&socket).unwrap(), KEEPALIVE_IDLE);
                assert_eq!(sockopt::tcp_keepintvl(&socket).unwrap(), KEEPALIVE_INTERVAL);
                assert_eq!(sockopt::tcp_keepcnt(&socket).unwrap(), KEEPALIVE_COUNT);
                assert_eq!(sockopt::tcp_user_timeout(&socket).unwrap(), USER_TIMEOUT_MS);
            }
        }
    }

    #[test]
    fn what_came_before_the_division_is_kept_and_the_port_stays_in_use() {
        let first = bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = first.local_addr().unwrap();
        let early = TcpStream::connect(address).unwrap();
        let divided = divide(first, 3).unwrap();
        let later: Vec<_> = (0..20).map(|_| TcpStream::connect(address).unwrap()).collect();
        let mut accepted = vec![];
        for listener in divided.iter().flatten() {
            accepted.extend(std::iter::from_fn(|| listener.accept().ok()).map(|(_, peer)| peer));
        }
        let mut clients: Vec<_> =
            later.iter().chain([&early]).map(|client| client.local_addr().unwrap()).collect();
        clients.sort();
        accepted.sort();
        assert_eq!(accepted, clients);
        let refused = bind(address).unwrap_err();
        assert_eq!(Errno::from_io_error(&refused), Some(Errno::ADDRINUSE), "as for another cluster");
    }
}
