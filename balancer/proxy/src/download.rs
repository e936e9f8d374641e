//! The answer on its way to the client, as it comes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use super::client::Client;
use super::upstream::Upstream;
use balancer_http1::Framing;
use balancer_http1::chunked::{self, Decoder};

enum Body {
    Length(u64),
    Chunked(Decoder),
    UntilClose,
}

pub(super) struct Download {
    body: Option<Body>,
    /// The client gets chunks.
    chunks: bool,
    sent: u64,
}

/// Why an answer ended early.
#[derive(Debug)]
pub(super) enum Broken {
    /// The client has gone.
    Client,
    /// The worker's answer broke off, or turned out malformed.
    Worker,
}

impl Download {
    /// The body comes as `from` says and goes on as `to` does.
    pub(super) fn new(from: Framing, to: Framing) -> Self {
        let body = match from {
            Framing::Empty => None,
            Framing::Length(length) => Some(Body::Length(length)),
            Framing::Chunked => Some(Body::Chunked(Decoder::default())),
            Framing::UntilClose => Some(Body::UntilClose),
        };
        Self { body, chunks: to == Framing::Chunked, sent: 0 }
    }

    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// Moves what has come into the client's outbox, behind the head if that is
    /// still there: small answers go out in one piece.
    pub(super) fn stage(&mut self, client: &mut Client, upstream: &mut Upstream) -> Result<(), Broken> {
        let input = upstream.inbox.bytes();
        if input.is_empty() || self.body.is_none() {
            return Ok(());
        }
        let out = client.out.bytes();
        let (chunks, sent) = (self.chunks, &mut self.sent);
        let mut add = |data: &[u8]| {
            *sent += data.len() as u64;
            if chunks { chunked::encode(data, out) } else { out.extend_from_slice(data) }
        };
        let (used, ended) = match self.body.as_mut() {
            None => (0, true),
            Some(Body::UntilClose) => {
                add(input);
                (input.len(), false)
            }
            Some(Body::Length(left)) => {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                add(&input[..count]);
                *left -= count as u64;
                (count, *left == 0)
            }
            Some(Body::Chunked(decoder)) => {
                let used = decoder.decode(input, add).map_err(|_| Broken::Worker)?;
                (used, decoder.is_done())
            }
        };
        upstream.inbox.consume(used);
        if ended {
            self.end(client);
        }
        Ok(())
    }

    fn end(&mut self, client: &mut Client) {
        self.body = None;
        if self.chunks {
            client.out.bytes().extend_from_slice(chunked::LAST);
        }
    }

    /// Passes on as much as possible. Ready when the client has all of it.
    pub(super) fn poll(
        &mut self,
        client: &mut Client,
        upstream: &mut Upstream,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Broken>> {
        loop {
            while !client.out.is_flushed() {
                if ready!(client.out.poll_write(&mut client.io, cx)).is_err() {
                    return Poll::Ready(Err(Broken::Client));
                }
            }
            client.out.clear();
            if self.body.is_none() {
                return Poll::Ready(Ok(()));
            }
            if upstream.inbox.is_empty() {
                match ready!(upstream.inbox.poll_fill(&mut upstream.io, cx)) {
                    Ok(0) if matches!(self.body, Some(Body::UntilClose)) => {
                        self.end(client);
                        continue;
                    }
                    Ok(0) | Err(_) => return Poll::Ready(Err(Broken::Worker)),
                    Ok(_) => {}
                }
            }
            if self.chunks || matches!(self.body, Some(Body::Chunked(_))) {
                self.stage(client, upstream)?;
            } else if ready!(self.poll_direct(client, upstream, cx)).is_err() {
                return Poll::Ready(Err(Broken::Client));
            }
        }
    }

    /// Writes from one connection's inbox to the other's socket, without a copy.
    fn poll_direct(
        &mut self,
        client: &mut Client,
        upstream: &mut Upstream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let input = upstream.inbox.bytes();
        let count = match &self.body {
            Some(Body::Length(left)) => usize::try_from(*left).unwrap_or(usize::MAX).min(input.len()),
            _ => input.len(),
        };
        let written = ready!(Pin::new(&mut client.io).poll_write(cx, &input[..count]))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.sent += written as u64;
        upstream.inbox.consume(written);
        if let Some(Body::Length(left)) = &mut self.body {
            *left -= written as u64;
            if *left == 0 {
                self.body = None;
            }
        }
        Poll::Ready(Ok(()))
    }
}
