//! Listening sockets.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
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

/// A listening socket for clients.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    /// Somebody else has it as well, and may keep it when this program has ended.
    is_inherited: bool,
}

impl Listener {
    /// Binds `address`. Port 0 takes a free one.
    ///
    /// # Errors
    /// When the address is in use, or is not one of this machine.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        Ok(Self { socket: bind(address)?, is_inherited: false })
    }

    /// Takes a socket that somebody else has bound and listens on, and gives it the options
    /// of one that is bound here.
    ///
    /// # Errors
    /// When the system refuses an option.
    pub fn inherit(socket: TcpListener) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        set_options(&socket)?;
        // Listening again changes the backlog only (listen(2)).
        rustix::net::listen(&socket, BACKLOG)?;
        Ok(Self { socket, is_inherited: true })
    }

    /// Where clients connect.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

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
    set_options(&socket)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// What accepted connections inherit, which spares each of them system calls.
fn set_options(listener: &impl AsFd) -> io::Result<()> {
    // Small responses leave at once.
    sockopt::set_tcp_nodelay(listener, true)?;
    detect_dead_peers(listener)
}

/// Has the kernel find out clients that are gone without a word, such as those behind a link
/// that went down: idle ones by probes (SO_KEEPALIVE), others by what they do not
/// acknowledge (tcp(7)).
fn detect_dead_peers(listener: &impl AsFd) -> io::Result<()> {
    sockopt::set_socket_keepalive(listener, true)?;
    sockopt::set_tcp_keepidle(listener, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(listener, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(listener, KEEPALIVE_COUNT)?;
    sockopt::set_tcp_user_timeout(listener, USER_TIMEOUT_MS)?;
    Ok(())
}

/// The sockets that each of `threads` threads accepts from.
pub(super) fn divide(listeners: Vec<Listener>, threads: usize) -> io::Result<Vec<Vec<TcpListener>>> {
    let mut divided: Vec<Vec<_>> = (0..threads).map(|_| vec![]).collect();
    for Listener { socket, is_inherited } in listeners {
        if is_inherited {
            share(socket, &mut divided)?;
        } else {
            divide_own(socket, &mut divided)?;
        }
    }
    Ok(divided)
}

/// Has all threads accept from the same socket. Were each to have one of its own at the same
/// port, the kernel would divide connections between those and the socket that is left when
/// this program has ended, and what waited in those would be lost with it.
fn share(socket: TcpListener, divided: &mut [Vec<TcpListener>]) -> io::Result<()> {
    let (first, others) = divided.split_first_mut().ok_or(io::ErrorKind::InvalidInput)?;
    for thread in others {
        thread.push(socket.try_clone()?);
    }
    first.push(socket);
    Ok(())
}

/// Makes further sockets where `first` listens, which keeps the connections that have come
/// already. A program that wants the port for itself, as another cluster does, finds it in
/// use; only a program of the same user that asks to share it could.
fn divide_own(first: TcpListener, divided: &mut [Vec<TcpListener>]) -> io::Result<()> {
    if divided.len() > 1 {
        let address = first.local_addr()?;
        sockopt::set_socket_reuseport(&first, true)?;
        for thread in &mut *divided {
            thread.push(TcpListener::from(open(address, true)?));
        }
    }
    divided.first_mut().ok_or(io::ErrorKind::InvalidInput)?.push(first);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use rustix::io::Errno;

    use super::*;

    #[test]
    fn accepted_connections_inherit_what_detects_dead_peers() {
        let first = Listener::bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = first.address().unwrap();
        let listeners = divide(vec![first], 2).unwrap();
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
    fn what_waits_in_an_inherited_socket_is_left_to_who_has_it_as_well() {
        let kept = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = kept.local_addr().unwrap();
        let divided = divide(vec![Listener::inherit(kept.try_clone().unwrap()).unwrap()], 3).unwrap();
        assert!(divided.iter().all(|listeners| listeners.len() == 1), "each thread accepts from it");
        let clients: Vec<_> = (0..30).map(|_| TcpStream::connect(address).unwrap()).collect();
        let (socket, _) = divided[2][0].accept().unwrap();
        assert!(sockopt::socket_keepalive(&socket).unwrap(), "with the options of one that is bound here");
        assert!(sockopt::tcp_nodelay(&socket).unwrap());
        drop(divided);
        let waiting = std::iter::from_fn(|| kept.accept().ok()).count();
        assert_eq!(waiting, clients.len() - 1);
    }

    #[test]
    fn what_came_before_the_division_is_kept_and_the_port_stays_in_use() {
        let first = Listener::bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = first.address().unwrap();
        let early = TcpStream::connect(address).unwrap();
        let divided = divide(vec![first], 3).unwrap();
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
