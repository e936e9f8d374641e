//! The request on its way to a worker: its head, and its body as it comes.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Instant;

use super::ProxyLimits;
use super::buffer::{CAPACITY, Outbox};
use super::client::Client;
use super::upstream::Upstream;
use balancer_http1::chunked::{self, Decoder};
use balancer_http1::{Framing, HttpError};

/// What has been sent is kept up to this size, to be sent again to another
/// worker.
const REPLAYABLE: usize = 64 * 1024;

enum Body {
    Length(u64),
    Chunked(Decoder),
}

pub(super) struct Upload {
    body: Option<Body>,
    pub(super) out: Outbox,
    /// The outbox holds the request from its first byte on.
    replayable: bool,
    /// The worker takes no more of it.
    refused: bool,
    received: u64,
    max_body: u64,
    pace: Pace,
}

/// Why a request's body cannot be sent.
pub(super) enum Stopped {
    Refused(HttpError),
    Gone,
}

impl Upload {
    /// `out` holds the head.
    pub(super) fn new(out: Outbox, framing: Framing, limits: &ProxyLimits) -> Self {
        let body = match framing {
            Framing::Length(length) => Some(Body::Length(length)),
            Framing::Chunked => Some(Body::Chunked(Decoder::default())),
            Framing::Empty | Framing::UntilClose => None,
        };
        Self {
            body,
            out,
            replayable: true,
            refused: false,
            received: 0,
            max_body: limits.max_body,
            pace: Pace::default(),
        }
    }

    /// The client has sent all of it.
    pub(super) fn is_received(&self) -> bool {
        self.body.is_none()
    }

    /// The worker has all of it.
    pub(super) fn is_complete(&self) -> bool {
        self.is_received() && !self.refused && self.out.is_flushed()
    }

    pub(super) fn is_replayable(&self) -> bool {
        self.replayable
    }

    /// Has any of it been handed to the worker's connection?
    pub(super) fn has_begun(&self) -> bool {
        self.out.sent() > 0 || !self.replayable
    }

    /// Bytes of the body, as far as the client has sent them.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Another worker gets it, from the beginning.
    pub(super) fn rewind(&mut self) {
        self.out.rewind();
        self.refused = false;
    }

    /// Until when the client has to go on with its body, while we wait for that.
    pub(super) fn deadline(&self, limits: &ProxyLimits) -> Option<Instant> {
        self.pace.deadline(self.received, limits)
    }

    /// Sends as much as possible. Ready when nothing is left to do.
    pub(super) fn poll(
        &mut self,
        client: &mut Client,
        upstream: &mut Upstream,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Stopped>> {
        // What has come with the head goes out with it: one system call for us, and
        // one wake-up for the worker.
        if self.out.sent() == 0
            && self.body.is_some()
            && !client.inbox.is_empty()
            && let Err(error) = self.take(client)
        {
            return Poll::Ready(Err(Stopped::Refused(error)));
        }
        loop {
            while !self.out.is_flushed() && !self.refused {
                // It may have answered without reading all: the answer counts.
                self.refused = ready!(self.out.poll_write(&mut upstream.io, cx)).is_err();
            }
            if self.refused || self.body.is_none() {
                return Poll::Ready(Ok(()));
            }
            if !self.replayable {
                self.out.clear();
            }
            if client.inbox.is_empty() {
                match client.poll_fill(cx) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(Stopped::Refused(SHORT))),
                    Poll::Ready(Ok(_)) => self.pace.came(),
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(Stopped::Gone)),
                    Poll::Pending => {
                        self.pace.wait();
                        return Poll::Pending;
                    }
                }
            }
            if let Err(error) = self.take(client) {
                return Poll::Ready(Err(Stopped::Refused(error)));
            }
        }
    }

    /// Moves what has come into the outbox, framed as the worker was told.
    fn take(&mut self, client: &mut Client) -> Result<(), HttpError> {
        let input = client.inbox.bytes();
        let before = self.out.len();
        let out = self.out.bytes();
        let (used, ended) = match &mut self.body {
            None => (0, true),
            Some(Body::Length(left)) => {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                out.extend_from_slice(&input[..count]);
                *left -= count as u64;
                self.received += count as u64;
                (count, *left == 0)
            }
            Some(Body::Chunked(decoder)) => {
                let received = &mut self.received;
                let used = decoder.decode(input, |data| {
                    *received += data.len() as u64;
                    chunked::encode(data, out);
                })?;
                if *received > self.max_body {
                    return Err(too_large(self.max_body));
                }
                if decoder.is_done() {
                    out.extend_from_slice(chunked::LAST);
                }
                (used, decoder.is_done())
            }
        };
        client.inbox.consume(used);
        if ended {
            self.body = None;
        }
        if self.out.len() > REPLAYABLE && self.out.len() > before {
            self.replayable = false;
        }
        debug_assert!(self.out.len() <= REPLAYABLE + 8 * CAPACITY);
        Ok(())
    }
}

pub(super) fn too_large(max_body: u64) -> HttpError {
    let detail = format!("the body is longer than {max_body} bytes; send less");
    HttpError { status: 413, detail: detail.into() }
}

const SHORT: HttpError = HttpError::bad("the body is shorter than the head announced");

/// How long we have waited for a body, against how much has come: a client that
/// sends a byte now and then must not hold a worker for ever.
#[derive(Debug, Default)]
struct Pace {
    waited: Duration,
    waiting_since: Option<Instant>,
}

impl Pace {
    fn wait(&mut self) {
        self.waiting_since.get_or_insert_with(Instant::now);
    }

    fn came(&mut self) {
        if let Some(since) = self.waiting_since.take() {
            self.waited += since.elapsed();
        }
    }

    fn deadline(&self, received: u64, limits: &ProxyLimits) -> Option<Instant> {
        let since = self.waiting_since?;
        let earned = Duration::from_secs(received / limits.min_body_rate.max(1));
        let left = (limits.body_grace + earned).saturating_sub(self.waited);
        Some(since + left.min(limits.client_timeout))
    }
}
