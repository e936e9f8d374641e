//! A client's connection, between requests and for the balancer's own answers.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pingora::protocols::Stream;
use tokio::io::AsyncWrite;
use tokio::time::Instant;

use super::ProxyLimits;
use super::buffer::{Inbox, Outbox};
use super::origin::Origin;
use super::timer::Timer;
use balancer_http1::scan::Scanner;
use balancer_http1::{Field, HttpError};

pub(super) struct Client {
    pub(super) io: Stream,
    pub(super) inbox: Inbox,
    pub(super) out: Outbox,
    pub(super) timer: Timer,
    pub(super) origin: Origin,
    /// Memory for the fields of heads.
    pub(super) fields: Vec<Field>,
    /// It sends no more (but may still read).
    pub(super) has_ended: bool,
    scanner: Scanner,
}

/// What came next.
pub(super) enum Next {
    /// A head of so many bytes is in the inbox.
    Head(usize),
    Refused(HttpError),
    /// Nothing more comes, or it has kept us waiting for long enough.
    Closed,
}

impl Client {
    pub(super) fn new(io: Stream, origin: Origin) -> Self {
        Self {
            io,
            inbox: Inbox::default(),
            out: Outbox::default(),
            timer: Timer::default(),
            origin,
            fields: Vec::new(),
            has_ended: false,
            scanner: Scanner::default(),
        }
    }

    /// Waits for the next request's head.
    pub(super) async fn next(&mut self, limits: &ProxyLimits) -> Next {
        let now = Instant::now();
        let patience = if self.inbox.is_empty() { limits.idle_timeout } else { limits.head_timeout };
        let mut deadline = now + patience;
        poll_fn(|cx| self.poll_next(limits, &mut deadline, cx)).await
    }

    fn poll_next(
        &mut self,
        limits: &ProxyLimits,
        deadline: &mut Instant,
        cx: &mut Context<'_>,
    ) -> Poll<Next> {
        loop {
            // Old clients send an empty line behind a body (RFC 9112, section 2.2).
            while self.inbox.bytes().starts_with(b"\r\n") {
                self.inbox.consume(2);
            }
            // A lone CR may be half of one.
            if !matches!(self.inbox.bytes(), [] | [b'\r']) {
                match self.scanner.find(self.inbox.bytes()) {
                    Ok(Some(length)) => return Poll::Ready(Next::Head(length)),
                    Ok(None) => {}
                    Err(error) => return Poll::Ready(Next::Refused(error)),
                }
            }
            let was_idle = self.inbox.is_empty();
            match self.poll_fill(cx) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Next::Closed),
                Poll::Ready(Ok(_)) if was_idle => *deadline = Instant::now() + limits.head_timeout,
                Poll::Ready(Ok(_)) => {}
                Poll::Pending if !self.timer.poll(*deadline, cx) => return Poll::Pending,
                Poll::Pending if self.inbox.is_empty() => return Poll::Ready(Next::Closed),
                Poll::Pending => return Poll::Ready(Next::Refused(SLOW_HEAD)),
            }
        }
    }

    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.has_ended {
            return Poll::Ready(Ok(0));
        }
        let count = ready!(self.inbox.poll_fill(&mut self.io, cx))?;
        self.has_ended = count == 0;
        Poll::Ready(Ok(count))
    }

    /// Looks whether the client is still there while it has nothing to say, and
    /// takes what it sends in advance. Ready when it is gone.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.has_ended && self.inbox.has_room() {
            if ready!(self.poll_fill(cx)).is_err() {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }

    /// Sends what is in the outbox, unless the client does not take it in time.
    pub(super) async fn flush(&mut self, limits: &ProxyLimits) -> io::Result<()> {
        let mut deadline = Instant::now() + limits.client_timeout;
        poll_fn(|cx| {
            while !self.out.is_flushed() {
                match self.out.poll_write(&mut self.io, cx) {
                    Poll::Ready(Ok(_)) => deadline = Instant::now() + limits.client_timeout,
                    Poll::Ready(Err(err)) => return Poll::Ready(Err(err)),
                    Poll::Pending if self.timer.poll(deadline, cx) => {
                        return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                    }
                    Poll::Pending => return Poll::Pending,
                }
            }
            self.out.clear();
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Ends our side and reads on for a while: a connection that is closed with
    /// bytes unread is reset, and the client may lose the answer that it was
    /// sent (RFC 9112, section 9.6).
    pub(super) async fn linger(&mut self, limits: &ProxyLimits) {
        let deadline = Instant::now() + limits.linger_timeout;
        poll_fn(|cx| {
            if ready!(Pin::new(&mut self.io).poll_shutdown(cx)).is_err() {
                return Poll::Ready(());
            }
            loop {
                let unread = self.inbox.bytes().len();
                self.inbox.consume(unread);
                match self.poll_fill(cx) {
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                    Poll::Ready(Ok(_)) if Instant::now() < deadline => {}
                    Poll::Pending if !self.timer.poll(deadline, cx) => return Poll::Pending,
                    _ => return Poll::Ready(()),
                }
            }
        })
        .await;
    }
}

const SLOW_HEAD: HttpError = HttpError::new(408, "the request's head did not arrive in time");
