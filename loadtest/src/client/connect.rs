//! Making connections, and what to do when this machine runs out of ports.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use shared_tls_client::{Trust, TrustError, words};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::failure::{ErrorClass, Failure};
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
            // An abstract one begins with a zero byte.
            Self::Unix(path) => f.write_str(&path.display().to_string().replace('\0', "@")),
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
    tls: Option<Tls>,
    /// Version and cipher of the first TLS connection.
    security: OnceLock<String>,
    timeout: Duration,
    /// 0: the system chooses; k: 127.0.0.(1+k). Loopback only: a destination
    /// there can be reached from any 127.x.y.z, each with its own ports.
    source: AtomicU32,
}

impl Connector {
    pub fn new(endpoint: Endpoint, tls: Option<&Tls>, timeout: Duration) -> Self {
        let security = OnceLock::new();
        Self { endpoint, tls: tls.cloned(), security, timeout, source: AtomicU32::new(0) }
    }

    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Version and cipher of TLS, once there was a connection.
    pub fn security(&self) -> Option<&str> {
        self.security.get().map(String::as_str)
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
                    Some(tls) => {
                        let stream = tls.connector.connect(tls.name.clone(), stream).await;
                        self.secured(tls, Stream::Tls(Box::new(stream.map_err(handshake)?)))
                    }
                }
            }
            Endpoint::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(|err| Failure::connecting(&err))?;
                match &self.tls {
                    None => Ok(Stream::Unix(stream)),
                    Some(tls) => {
                        let stream = tls.connector.connect(tls.name.clone(), stream).await;
                        self.secured(tls, Stream::TlsUnix(Box::new(stream.map_err(handshake)?)))
                    }
                }
            }
        }
    }

    fn secured(&self, tls: &Tls, stream: Stream) -> Result<Stream, Failure> {
        if tls.http2 && stream.alpn() != Some(tls::H2) {
            let detail = "the server does not speak HTTP/2: it did not choose h2 by ALPN";
            return Err(Failure::new(ErrorClass::Tls, detail));
        }
        if self.security.get().is_none()
            && let Some(security) = stream.security()
        {
            let _ = self.security.set(security);
        }
        Ok(stream)
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

/// How connections are secured.
#[derive(Clone)]
pub struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
    http2: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{0:?} is no name that a certificate could be checked against")]
    ServerName(String),
    #[error(transparent)]
    Trust(#[from] TrustError),
}

impl Tls {
    /// # Errors
    /// When `host` is neither a name nor an address, or nobody can be trusted.
    pub fn new(host: &str, trust: &Trust, http2: bool, resumption: bool) -> Result<Self, TlsError> {
        let name =
            ServerName::try_from(host.to_owned()).map_err(|_| TlsError::ServerName(host.to_owned()))?;
        Ok(Self { connector: tls::connector(trust, http2, resumption)?, name, http2 })
    }
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
    Failure::new(ErrorClass::Tls, words::of_handshake(&err))
}
