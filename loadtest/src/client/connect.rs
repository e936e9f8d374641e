//! Making connections, and what to do when this machine runs out of ports.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::failure::{ErrorClass, Failure, describe};
use super::stream::Stream;
use super::tls;

/// Where to connect: found once, before the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// Tried in turn, per connection, when local ports have run out.
const SOURCES_PER_TRY: u32 = 8;
/// Source addresses that are used at most, 127.0.0.2 to 127.0.0.251.
const SOURCES: u32 = 250;

/// Makes connections to one endpoint; shared by all threads.
pub struct Connector {
    endpoint: Endpoint,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    timeout: Duration,
    /// 0: the system chooses; k: 127.0.0.(1+k). Loopback only: a destination
    /// there can be reached from any 127.x.y.z, each with its own ports.
    source: AtomicU32,
}

impl Connector {
    /// # Errors
    /// When `tls` is wanted for a host that is neither a name nor an address.
    pub fn new(
        endpoint: Endpoint,
        tls: Option<&TlsPlan>,
        timeout: Duration,
    ) -> Result<Self, tokio_rustls::rustls::pki_types::InvalidDnsNameError> {
        let tls = match tls {
            Some(plan) => {
                let name = ServerName::try_from(plan.host.clone())?;
                Some((tls::connector(plan.insecure, plan.http2), name))
            }
            None => None,
        };
        Ok(Self { endpoint, tls, timeout, source: AtomicU32::new(0) })
    }

    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Loopback source addresses in use beyond the system's choice.
    pub fn extra_sources(&self) -> u32 {
        self.source.load(Ordering::Relaxed)
    }

    /// Makes a connection and closes it.
    ///
    /// # Errors
    /// As when a connection is made for a request.
    pub async fn probe(&self) -> Result<(), Failure> {
        self.connect().await.map(drop)
    }

    /// A connection ready for the first request, TLS handshake included.
    ///
    /// # Errors
    /// In the class of what went wrong, after the timeout at the latest.
    pub(super) async fn connect(&self) -> Result<Stream, Failure> {
        match tokio::time::timeout(self.timeout, self.connect_unbounded()).await {
            Ok(result) => result,
            Err(_) => Err(Failure::new(
                ErrorClass::ConnectTimeout,
                format!("no connection within {}", humantime::format_duration(self.timeout)),
            )),
        }
    }

    async fn connect_unbounded(&self) -> Result<Stream, Failure> {
        match &self.endpoint {
            Endpoint::Tcp(address) => {
                let stream = self.connect_tcp(*address).await?;
                // Requests are written whole; waiting for more only adds delay.
                stream.set_nodelay(true).map_err(|err| Failure::connecting(&err))?;
                match &self.tls {
                    None => Ok(Stream::Tcp(stream)),
                    Some((tls, name)) => {
                        let tls = tls.connect(name.clone(), stream).await.map_err(handshake)?;
                        Ok(Stream::Tls(Box::new(tls)))
                    }
                }
            }
            Endpoint::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(|err| Failure::connecting(&err))?;
                match &self.tls {
                    None => Ok(Stream::Unix(stream)),
                    Some((tls, name)) => {
                        let tls = tls.connect(name.clone(), stream).await.map_err(handshake)?;
                        Ok(Stream::TlsUnix(Box::new(tls)))
                    }
                }
            }
        }
    }

    async fn connect_tcp(&self, address: SocketAddr) -> Result<TcpStream, Failure> {
        let mut tries = 0;
        loop {
            let source = self.source.load(Ordering::Relaxed);
            let failure = match connect_from(source, address).await {
                Ok(stream) => return Ok(stream),
                Err(err) => Failure::connecting(&err),
            };
            let rotates = matches!(address.ip(), IpAddr::V4(ip) if ip.is_loopback());
            tries += 1;
            if failure.class != ErrorClass::LocalPorts || !rotates || tries > SOURCES_PER_TRY {
                return Err(failure);
            }
            // Whoever sees the exhaustion first moves everybody on.
            let next = (source + 1) % (SOURCES + 1);
            let _ = self.source.compare_exchange(source, next, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

/// What TLS needs to know of the target.
#[derive(Debug, Clone)]
pub struct TlsPlan {
    pub host: String,
    pub insecure: bool,
    pub http2: bool,
}

async fn connect_from(source: u32, address: SocketAddr) -> std::io::Result<TcpStream> {
    if source == 0 {
        return TcpStream::connect(address).await;
    }
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((Ipv4Addr::from(u32::from(Ipv4Addr::LOCALHOST) + source), 0)))?;
    socket.connect(address).await
}

fn handshake(err: std::io::Error) -> Failure {
    Failure::new(ErrorClass::Tls, describe(&err))
}
