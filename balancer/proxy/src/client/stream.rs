//! The byte stream of a client.
//!
//! Pingora's own stream is not used on this side: it brings 64 KiB of buffer for each
//! connection and asks the kernel about the socket when it is dropped. The request path
//! has buffers of its own, which it holds only while there are bytes in them.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::http2::Http2Stream;
use super::tls::TlsSession;
use crate::listener::AcceptedSocket;

/// The byte stream of a client.
pub(crate) enum ClientStream {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// In a box, as a session is some hundred bytes that other connections do not need.
    Tls(Box<TlsSession<Self>>),
    /// One stream of an HTTP/2 connection.
    Http2(Box<Http2Stream>),
}

impl ClientStream {
    pub(crate) fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// What trailers follow the response, as lines of HTTP/1.1. Of the byte streams only one
    /// of HTTP/2 has a place of its own for them.
    pub(crate) fn set_trailers(&mut self, lines: &[u8]) {
        if let Self::Http2(stream) = self
            && !lines.is_empty()
        {
            stream.set_trailers(lines);
        }
    }

    /// Has the client chosen HTTP/2 in its handshake (RFC 9113, section 3.2)?
    pub(crate) fn has_chosen_http2(&self) -> bool {
        matches!(self, Self::Tls(session) if session.session().alpn_protocol() == Some(b"h2"))
    }
}

impl From<AcceptedSocket> for ClientStream {
    fn from(socket: AcceptedSocket) -> Self {
        match socket {
            AcceptedSocket::Tcp(stream, _) => Self::Tcp(stream),
            AcceptedSocket::Unix(stream) => Self::Unix(stream),
        }
    }
}

impl AsyncRead for ClientStream {
    #[inline]
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, room),
            Self::Http2(stream) => Pin::new(stream).poll_read(cx, room),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, room),
            Self::Tls(session) => session.poll_read(cx, room),
        }
    }
}

impl AsyncWrite for ClientStream {
    #[inline]
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Http2(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(session) => session.poll_write(cx, bytes),
        }
    }

    /// A TLS session writes what it has of a handshake in one go, and its last alert only so.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
            Self::Http2(stream) => Pin::new(stream).poll_write(cx, parts.first().map_or(&[], |part| part)),
            // Nothing here writes so, and what is taken must be known as one sequence.
            Self::Tls(session) => session.poll_write(cx, parts.first().map_or(&[], |part| part)),
        }
    }

    fn is_write_vectored(&self) -> bool {
        matches!(self, Self::Tcp(_) | Self::Unix(_))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Http2(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(session) => session.poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Http2(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(session) => session.poll_shutdown(cx),
        }
    }
}
