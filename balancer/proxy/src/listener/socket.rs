//! Listening sockets.

use std::collections::BTreeSet;
use std::io;
use std::net::{SocketAddr, SocketAddrV6, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, sockopt};

use super::accepted::ListenerOptions;
use super::acceptor::{Share, ShareSocket};

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

/// A listening socket for clients, and how its connections are served.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    pub options: ListenerOptions,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    /// Somebody else has it as well, and may keep it when this program has ended.
    Inherited(TcpListener),
    /// All sockets of one address, from a program that ends and leaves them to this one.
    Succeeded(Vec<TcpListener>),
    Unix(UnixListener),
}

impl Listener {
    /// Binds `address`. Port 0 takes a free one.
    ///
    /// # Errors
    /// When the address is in use, or is not one of this machine.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        Ok(Self { socket: Socket::Tcp(bind(address)?), options: ListenerOptions::default() })
    }

    /// As [`Self::bind`], for IPv6 alone, so that IPv4 can have a listener of its own on the
    /// same port.
    ///
    /// # Errors
    /// As [`Self::bind`].
    pub fn bind_ipv6_only(address: SocketAddrV6) -> io::Result<Self> {
        let socket = TcpListener::from(open(address.into(), false, true)?);
        Ok(Self { socket: Socket::Tcp(socket), options: ListenerOptions::default() })
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
        Ok(Self { socket: Socket::Inherited(socket), options: ListenerOptions::default() })
    }

    /// Takes over all sockets of one address from a program that had them by [`Self::bind`], at
    /// least one. What waits in their queues is accepted by this program from then on.
    ///
    /// # Errors
    /// When the system refuses an option.
    pub fn succeed(sockets: Vec<TcpListener>) -> io::Result<Self> {
        for socket in &sockets {
            socket.set_nonblocking(true)?;
            set_options(socket)?;
        }
        Ok(Self { socket: Socket::Succeeded(sockets), options: ListenerOptions::default() })
    }

    /// Takes a Unix socket that listens, whoever has bound it.
    ///
    /// # Errors
    /// When the system refuses an option.
    pub fn unix(socket: UnixListener) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        rustix::net::listen(&socket, BACKLOG)?;
        Ok(Self { socket: Socket::Unix(socket), options: ListenerOptions::default() })
    }

    #[must_use]
    pub fn with(self, options: ListenerOptions) -> Self {
        Self { options, ..self }
    }

    /// Where clients connect, if that is an address.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn address(&self) -> io::Result<Option<SocketAddr>> {
        match &self.socket {
            Socket::Tcp(socket) | Socket::Inherited(socket) => socket.local_addr().map(Some),
            Socket::Succeeded(sockets) => sockets.first().map(TcpListener::local_addr).transpose(),
            Socket::Unix(_) => Ok(None),
        }
    }
}

/// Binds `address`. Port 0 takes a free one.
///
/// # Errors
/// When the address is in use, or is not one of this machine.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    open(address, false, false).map(TcpListener::from)
}

/// Binds `first` for other sockets to share its address, by the function that is returned: the
/// kernel divides connections between them. Whoever else wants the port finds it in use.
///
/// # Errors
/// When the address is in use, or is not one of this machine.
pub fn bind_shared(
    address: SocketAddr,
) -> io::Result<(TcpListener, impl Fn() -> io::Result<TcpListener> + Send + Sync + 'static)> {
    let first = bind(address)?;
    sockopt::set_socket_reuseport(&first, true)?;
    let address = first.local_addr()?;
    Ok((first, move || open(address, true, false).map(TcpListener::from)))
}

fn open(address: SocketAddr, shared: bool, ipv6_only: bool) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    // A restart may take the port while old connections linger in TIME_WAIT (socket(7)).
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, shared)?;
    if ipv6_only {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
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

/// What each of `threads` threads accepts from.
pub(super) fn divide(listeners: Vec<Listener>, threads: usize) -> io::Result<Vec<Vec<Share>>> {
    let mut divided: Vec<Vec<_>> = (0..threads).map(|_| vec![]).collect();
    for Listener { socket, options } in listeners {
        let options = Arc::new(options);
        let mut add = |thread: usize, socket| -> io::Result<()> {
            let thread = divided.get_mut(thread).ok_or(io::ErrorKind::InvalidInput)?;
            thread.push(Share { socket, options: Arc::clone(&options) });
            Ok(())
        };
        match socket {
            Socket::Tcp(first) => {
                for (thread, socket) in divide_own(first, threads)? {
                    add(thread, ShareSocket::Tcp(socket))?;
                }
            }
            // All threads accept from the same socket. Were each to have one of its own at the
            // same port, the kernel would divide connections between those and the socket that
            // is left when this program has ended, and what waited in those would be lost.
            Socket::Inherited(socket) => {
                for thread in 0..threads {
                    add(thread, ShareSocket::Tcp(socket.try_clone()?))?;
                }
            }
            // The kernel divides connections between them already.
            Socket::Succeeded(sockets) => {
                for (index, socket) in sockets.into_iter().enumerate() {
                    add(index % threads.max(1), ShareSocket::Tcp(socket))?;
                }
            }
            // There is one socket at a path.
            Socket::Unix(socket) => {
                for thread in 0..threads {
                    add(thread, ShareSocket::Unix(socket.try_clone()?))?;
                }
            }
        }
    }
    Ok(divided)
}

/// Another descriptor of each listening socket, once for those that threads share.
pub(super) fn distinct(divided: &[Vec<Share>]) -> io::Result<Vec<OwnedFd>> {
    let mut seen = BTreeSet::new();
    let mut sockets = Vec::new();
    for Share { socket, .. } in divided.iter().flatten() {
        let socket = match socket {
            ShareSocket::Tcp(socket) => socket.as_fd(),
            ShareSocket::Unix(socket) => socket.as_fd(),
        };
        // The inode is the socket's own, however many descriptors it has (fstat(2)).
        if seen.insert(rustix::fs::fstat(socket)?.st_ino) {
            sockets.push(socket.try_clone_to_owned()?);
        }
    }
    Ok(sockets)
}

/// Makes a socket for each thread where `first` listens, which keeps the connections that
/// have come already, and is the first thread's as well. A program that wants the port for
/// itself, as another cluster does, finds it in use; only a program of the same user that
/// asks to share it could.
fn divide_own(first: TcpListener, threads: usize) -> io::Result<Vec<(usize, TcpListener)>> {
    let mut own = Vec::new();
    if threads > 1 {
        let address = first.local_addr()?;
        let ipv6_only = address.is_ipv6() && sockopt::ipv6_v6only(&first)?;
        sockopt::set_socket_reuseport(&first, true)?;
        for thread in 0..threads {
            own.push((thread, TcpListener::from(open(address, true, ipv6_only)?)));
        }
    }
    own.push((0, first));
    Ok(own)
}

#[cfg(test)]
mod tests;
