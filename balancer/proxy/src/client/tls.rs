//! The byte stream within a TLS session.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

/// A session whose handshake is done.
///
/// What was written counts as written once the kernel has it, as with a socket, and not when
/// it waits in the session: the request path knows by that when a client takes nothing, and
/// flushes nothing at the end. So a write that is pending may have been taken already, and
/// **must go on with the same bytes**, to which others may have been appended. The request
/// path does so, as each connection carries one sequence of bytes.
pub(crate) struct TlsSession<S> {
    stream: TlsStream<S>,
    /// Bytes that the session has taken and the kernel may not have yet.
    taken: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsSession<S> {
    pub(crate) fn new(stream: TlsStream<S>) -> Self {
        Self { stream, taken: 0 }
    }

    /// The session as such, for what the handshake has negotiated.
    pub(crate) fn session(&self) -> &tokio_rustls::rustls::ServerConnection {
        self.stream.get_ref().1
    }

    /// A client that ends its connection without ending the session (`close_notify`) is common,
    /// and counts as one that ends both: what it sends says itself where it ends.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match ready!(Pin::new(&mut self.stream).poll_read(cx, room)) {
            Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
            result => Poll::Ready(result),
        }
    }

    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.taken == 0 {
            self.taken = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        }
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        let count = self.taken.min(bytes.len());
        self.taken -= count;
        Poll::Ready(Ok(count))
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Ends the session with `close_notify` (RFC 8446, section 6.1), and the sending side of
    /// the connection.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
