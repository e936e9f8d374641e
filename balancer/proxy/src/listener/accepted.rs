//! Connections as the kernel hands them out, and what their listener is for.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use balancer_tls::Tls;
use tokio::net::{TcpStream, UnixStream};

use crate::proxy_protocol::ProxySources;
use crate::redirect::Redirect;

/// A connection before anything was read from it.
#[derive(Debug)]
pub enum AcceptedSocket {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

impl AcceptedSocket {
    /// Takes it out of the event loop of this thread, for that of another.
    pub(super) fn into_std(self) -> io::Result<TakenSocket> {
        Ok(match self {
            Self::Tcp(stream, peer) => TakenSocket::Tcp(stream.into_std()?, peer),
            Self::Unix(stream) => TakenSocket::Unix(stream.into_std()?),
        })
    }

    /// Who has connected. A Unix socket's peers have no address.
    pub fn peer(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp(_, peer) => Some(peer.ip()),
            Self::Unix(_) => None,
        }
    }
}

/// A connection, and how it is served.
pub(super) type Accepted = (AcceptedSocket, Arc<ListenerOptions>);

/// A connection that is on no event loop.
#[derive(Debug)]
pub(super) enum TakenSocket {
    Tcp(std::net::TcpStream, SocketAddr),
    Unix(std::os::unix::net::UnixStream),
}

impl TakenSocket {
    /// Puts it into the event loop of this thread.
    pub(super) fn into_tokio(self) -> io::Result<AcceptedSocket> {
        Ok(match self {
            Self::Tcp(stream, peer) => AcceptedSocket::Tcp(TcpStream::from_std(stream)?, peer),
            Self::Unix(stream) => AcceptedSocket::Unix(UnixStream::from_std(stream)?),
        })
    }
}

/// How the connections of one listener are served.
#[derive(Debug, Default)]
pub struct ListenerOptions {
    /// Each begins with a header of the PROXY protocol, from these.
    pub proxy_protocol: Option<ProxySources>,
    /// Who connects is a proxy whose `X-Forwarded-*` and `Forwarded` fields are true, as the
    /// permissions of the socket let nobody else connect.
    pub trusts_peers: bool,
    /// The value of `Strict-Transport-Security`; of listeners that speak HTTPS only (RFC 6797,
    /// section 7.2).
    pub hsts: Option<Arc<str>>,
    /// Every request is answered with where it is found over HTTPS.
    pub redirect: Option<Redirect>,
    /// Clients speak TLS.
    pub tls: Option<Arc<Tls>>,
}
