//! One connection, whatever it runs over.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::{ClientConnection, HandshakeKind};

/// A reset follows the end of a connection by a round trip at most; looked for only
/// where a connection has ended without a response.
const LATE_RESET: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
    TlsUnix(Box<TlsStream<UnixStream>>),
}

impl Stream {
    fn tls(&self) -> Option<&ClientConnection> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => None,
            Self::Tls(stream) => Some(stream.get_ref().1),
            Self::TlsUnix(stream) => Some(stream.get_ref().1),
        }
    }

    /// How the TLS handshake went; `None` without TLS.
    pub(super) fn handshake(&self) -> Option<HandshakeKind> {
        self.tls()?.handshake_kind()
    }

    /// `TLS 1.3, AES_128_GCM_SHA256`; `None` without TLS.
    pub(super) fn security(&self) -> Option<String> {
        let connection = self.tls()?;
        let version = match connection.protocol_version()? {
            tokio_rustls::rustls::ProtocolVersion::TLSv1_3 => "TLS 1.3",
            tokio_rustls::rustls::ProtocolVersion::TLSv1_2 => "TLS 1.2",
            _ => "TLS",
        };
        let suite = format!("{:?}", connection.negotiated_cipher_suite()?.suite());
        Some(format!("{version}, {}", suite.trim_start_matches("TLS13_").trim_start_matches("TLS_")))
    }

    /// The protocol that the server chose by ALPN (RFC 7301).
    pub(super) fn alpn(&self) -> Option<&[u8]> {
        self.tls()?.alpn_protocol()
    }

    /// Has the peer, whose end was read, answered what we wrote with a reset? It has
    /// when it had closed its socket before it read that (tcp(7); RFC 9293, section
    /// 3.10.7.1). A Unix socket says so at once, by the error of a read.
    pub(super) async fn was_reset(&self) -> bool {
        let tcp = match self {
            Self::Tcp(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
            Self::Unix(_) | Self::TlsUnix(_) => return false,
        };
        if matches!(tcp.take_error(), Ok(Some(_))) {
            return true;
        }
        let _ = tokio::time::timeout(LATE_RESET, tcp.ready(Interest::ERROR)).await;
        matches!(tcp.take_error(), Ok(Some(_)))
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::TlsUnix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::TlsUnix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Self::TlsUnix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::TlsUnix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
