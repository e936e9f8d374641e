//! A client that speaks HTTP/1: between requests, and for responses of the balancer's
//! own.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use balancer_http1::scan::Scanner;
use balancer_http1::{FieldBuffer, HttpError};
use tokio::io::AsyncWrite;

use super::stream::ClientStream;
use crate::field::ProxyField;
use crate::forwarded::ClientIdentity;
use crate::limits::ProxyLimits;
use crate::read_buffer::ReadBuffer;
use crate::stall::Stall;
use crate::timer::{self, Timer};
use crate::write_buffer::WriteBuffer;

pub(crate) struct Http1Client {
    pub(crate) stream: ClientStream,
    pub(crate) read_buffer: ReadBuffer,
    pub(crate) write_buffer: WriteBuffer,
    pub(crate) timer: Timer,
    pub(crate) identity: ClientIdentity,
    /// Memory for the fields of one head at a time, the request's or the response's.
    pub(crate) fields: FieldBuffer<ProxyField>,
    /// The client sends no more, but may still read.
    pub(crate) has_ended: bool,
    /// How long it is to use HTTPS only, if it is to be told.
    pub(crate) hsts: Option<Arc<str>>,
    /// It may do so while it waits for a response.
    half_close: bool,
    scanner: Scanner,
}

/// What comes next on a connection.
pub(crate) enum NextHead {
    /// A head of this length in bytes is in the read buffer.
    Complete(usize),
    Refused(HttpError),
    /// Nothing more comes, or nothing came in time.
    Closed,
}

impl Http1Client {
    pub(crate) fn new(stream: ClientStream, identity: ClientIdentity, half_close: bool) -> Self {
        Self {
            stream,
            read_buffer: ReadBuffer::default(),
            write_buffer: WriteBuffer::default(),
            timer: Timer::default(),
            identity,
            fields: FieldBuffer::default(),
            has_ended: false,
            hsts: None,
            half_close,
            scanner: Scanner::for_requests(),
        }
    }

    /// Waits for the head of the next request.
    pub(crate) async fn next_head(&mut self, limits: &ProxyLimits) -> NextHead {
        let is_idle = self.read_buffer.is_empty();
        let mut timeout = if is_idle { limits.idle_timeout } else { limits.head_timeout };
        let mut stall = Stall::default();
        poll_fn(|cx| self.poll_next_head(limits, &mut stall, &mut timeout, cx)).await
    }

    fn poll_next_head(
        &mut self,
        limits: &ProxyLimits,
        stall: &mut Stall,
        timeout: &mut Duration,
        cx: &mut Context<'_>,
    ) -> Poll<NextHead> {
        loop {
            // Old clients send an empty line behind a body (RFC 9112, section 2.2).
            while self.read_buffer.bytes().starts_with(b"\r\n") {
                self.read_buffer.consume(2);
            }
            // A lone CR may be half of one.
            if !matches!(self.read_buffer.bytes(), [] | [b'\r']) {
                match self.scanner.find(self.read_buffer.bytes()) {
                    Ok(Some(length)) => return Poll::Ready(NextHead::Complete(length)),
                    Ok(None) => {}
                    Err(error) => return Poll::Ready(NextHead::Refused(error)),
                }
            }
            let was_idle = self.read_buffer.is_empty();
            match self.poll_fill(cx) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(NextHead::Closed),
                Poll::Ready(Ok(_)) if was_idle => {
                    *timeout = limits.head_timeout;
                    stall.touch();
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Pending if !self.timer.poll(stall.deadline(*timeout), cx) => return Poll::Pending,
                Poll::Pending if self.read_buffer.is_empty() => return Poll::Ready(NextHead::Closed),
                Poll::Pending => return Poll::Ready(NextHead::Refused(SLOW_HEAD)),
            }
        }
    }

    /// Reads once into the read buffer, which must have room. 0 bytes mean that the
    /// client sends no more.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.has_ended {
            return Poll::Ready(Ok(0));
        }
        let count = ready!(self.read_buffer.poll_fill(&mut self.stream, cx))?;
        self.has_ended = count == 0;
        Poll::Ready(Ok(count))
    }

    /// Watches a client that is not expected to send anything, and keeps what it sends
    /// in advance. Ready when it has gone: its connection is broken, or it has ended its
    /// sending side, unless it may do that.
    pub(crate) fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.has_ended && self.read_buffer.has_room() {
            if ready!(self.poll_fill(cx)).is_err() {
                return Poll::Ready(());
            }
        }
        if self.has_ended && !self.half_close { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Sends the content of the write buffer.
    ///
    /// # Errors
    /// When the connection is broken, or the client takes nothing for `timeout`.
    pub(crate) async fn flush(&mut self, timeout: Duration) -> io::Result<()> {
        let mut stall = Stall::default();
        poll_fn(|cx| {
            while !self.write_buffer.is_flushed() {
                match self.write_buffer.poll_write(&mut self.stream, cx) {
                    Poll::Ready(Ok(_)) => stall.touch(),
                    Poll::Ready(Err(err)) => return Poll::Ready(Err(err)),
                    Poll::Pending if self.timer.poll(stall.deadline(timeout), cx) => {
                        return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                    }
                    Poll::Pending => return Poll::Pending,
                }
            }
            self.write_buffer.clear();
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Ends a TLS session, so that the client knows that nothing was cut off. It is tried once:
    /// a client that takes nothing is not waited for. Other connections end as they are closed.
    pub(crate) async fn end(&mut self) {
        if self.stream.is_tls() {
            poll_fn(|cx| {
                // The connection may be broken.
                let _ = Pin::new(&mut self.stream).poll_shutdown(cx);
                Poll::Ready(())
            })
            .await;
        }
    }

    /// Ends the sending side and reads on for `timeout` at most: a connection that is
    /// closed with bytes unread is reset, and the client may lose the response that it
    /// was sent (RFC 9112, section 9.6).
    pub(crate) async fn linger(&mut self, timeout: Duration) {
        let deadline = timer::now() + timeout;
        poll_fn(|cx| {
            if ready!(Pin::new(&mut self.stream).poll_shutdown(cx)).is_err() {
                return Poll::Ready(());
            }
            loop {
                let unread = self.read_buffer.bytes().len();
                self.read_buffer.consume(unread);
                match self.poll_fill(cx) {
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                    Poll::Ready(Ok(_)) if timer::now() < deadline => {}
                    Poll::Pending if !self.timer.poll(deadline, cx) => return Poll::Pending,
                    _ => return Poll::Ready(()),
                }
            }
        })
        .await;
    }
}

const SLOW_HEAD: HttpError = HttpError::new(408, "the request's head did not arrive in time");
