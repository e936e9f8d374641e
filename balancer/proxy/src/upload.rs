//! The request on its way to a worker: its head, and its body as it comes.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use balancer_http1::chunked::{self, Decoder};
use balancer_http1::{Framing, HttpError};
use tokio::time::Instant;

use crate::client::Http1Client;
use crate::limits::ProxyLimits;
use crate::read_buffer::CAPACITY;
use crate::stall::Stall;
use crate::upstream::Upstream;
use crate::write_buffer::WriteBuffer;

/// A request is kept up to this size in bytes, to be sent again to another worker.
const MAX_REPLAYABLE: usize = 64 * 1024;

enum Body {
    Length(u64),
    Chunked(Decoder),
}

pub(crate) struct Upload {
    /// What is still to come; `None` once the client has sent all of it.
    body: Option<Body>,
    write_buffer: WriteBuffer,
    /// The write buffer holds the request from its first byte on.
    is_replayable: bool,
    /// The worker takes no more of it.
    is_refused: bool,
    received: u64,
    max_request_body: u64,
    pace: Pace,
    /// Touched whenever part of the request has come or gone.
    pub(crate) stall: Stall,
    /// The client was told to send the body (100).
    pub(crate) has_continued: bool,
}

/// Why a request cannot be sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadError {
    /// The client sends no valid body.
    #[error("the request's body is refused: {0}")]
    Rejected(HttpError),
    #[error("the client has closed its connection")]
    ClientClosed,
}

impl Upload {
    /// `write_buffer` holds the head.
    pub(crate) fn new(write_buffer: WriteBuffer, framing: Framing, limits: &ProxyLimits) -> Self {
        let body = match framing {
            Framing::Length(length) => Some(Body::Length(length)),
            Framing::Chunked => Some(Body::Chunked(Decoder::default())),
            Framing::Empty | Framing::UntilClose => None,
        };
        Self {
            body,
            write_buffer,
            is_replayable: true,
            is_refused: false,
            received: 0,
            max_request_body: limits.max_request_body,
            pace: Pace::default(),
            stall: Stall::default(),
            has_continued: false,
        }
    }

    /// Has the client sent all of it?
    #[inline]
    pub(crate) fn is_received(&self) -> bool {
        self.body.is_none()
    }

    /// Does the worker have all of it?
    pub(crate) fn is_complete(&self) -> bool {
        self.is_received() && !self.is_refused && self.write_buffer.is_flushed()
    }

    /// Can it be sent again from the beginning?
    pub(crate) fn is_replayable(&self) -> bool {
        self.is_replayable
    }

    /// Will it be possible to send it again, when all of it has come?
    pub(crate) fn will_be_replayable(&self) -> bool {
        match &self.body {
            None => self.is_replayable,
            Some(Body::Length(left)) => self.is_replayable && *left <= MAX_REPLAYABLE as u64 / 2,
            Some(Body::Chunked(_)) => false,
        }
    }

    /// Has any of it been written to the worker's connection?
    pub(crate) fn has_begun(&self) -> bool {
        self.write_buffer.sent() > 0 || !self.is_replayable
    }

    /// Does the worker have all that has come so far?
    pub(crate) fn is_flushed(&self) -> bool {
        self.write_buffer.is_flushed()
    }

    /// Bytes of the body that the client has sent so far.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Begins again, for another worker.
    pub(crate) fn rewind(&mut self) {
        self.write_buffer.rewind();
        self.is_refused = false;
    }

    /// When the client must have gone on with its body; `None` while it is not waited for.
    pub(crate) fn deadline(&self, limits: &ProxyLimits) -> Option<Instant> {
        self.pace.deadline(self.received, limits)
    }

    /// Sends as much as possible. Ready when nothing is left to do.
    pub(crate) fn poll(
        &mut self,
        client: &mut Http1Client,
        upstream: &mut Upstream,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), UploadError>> {
        // A body that has come with the head goes out with it: one system call here, and
        // one wake-up for the worker.
        if self.write_buffer.sent() == 0
            && self.body.is_some()
            && !client.read_buffer.is_empty()
            && let Err(error) = self.take(client)
        {
            return Poll::Ready(Err(UploadError::Rejected(error)));
        }
        loop {
            while !self.write_buffer.is_flushed() && !self.is_refused {
                // The worker may have answered without reading all: its response counts.
                self.is_refused = ready!(self.write_buffer.poll_write(&mut upstream.stream, cx)).is_err();
                self.stall.touch();
            }
            if self.is_refused || self.body.is_none() {
                return Poll::Ready(Ok(()));
            }
            if !self.is_replayable {
                self.write_buffer.clear();
            }
            if client.read_buffer.is_empty() {
                match client.poll_fill(cx) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(UploadError::Rejected(BODY_TOO_SHORT))),
                    Poll::Ready(Ok(_)) => {
                        self.pace.end_wait();
                        self.stall.touch();
                    }
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(UploadError::ClientClosed)),
                    Poll::Pending => {
                        self.pace.begin_wait();
                        return Poll::Pending;
                    }
                }
            }
            if let Err(error) = self.take(client) {
                return Poll::Ready(Err(UploadError::Rejected(error)));
            }
        }
    }

    /// Moves what has come into the write buffer, framed as the head says.
    fn take(&mut self, client: &mut Http1Client) -> Result<(), HttpError> {
        let input = client.read_buffer.bytes();
        let before = self.write_buffer.len();
        let out = self.write_buffer.bytes();
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
                if *received > self.max_request_body {
                    return Err(body_too_large(self.max_request_body));
                }
                if decoder.is_done() {
                    out.extend_from_slice(chunked::LAST);
                }
                (used, decoder.is_done())
            }
        };
        client.read_buffer.consume(used);
        if ended {
            self.body = None;
        }
        if self.write_buffer.len() > MAX_REPLAYABLE && self.write_buffer.len() > before {
            self.is_replayable = false;
        }
        debug_assert!(self.write_buffer.len() <= MAX_REPLAYABLE + 8 * CAPACITY);
        Ok(())
    }
}

pub(crate) fn body_too_large(max_request_body: u64) -> HttpError {
    let detail = format!("the body is longer than {max_request_body} bytes; send less");
    HttpError { status: 413, detail: detail.into() }
}

const BODY_TOO_SHORT: HttpError = HttpError::bad("the body is shorter than the head announced");

/// How long a body has been waited for, against how much has come: a client that sends
/// a byte now and then must not hold a worker for ever.
#[derive(Debug, Default)]
struct Pace {
    waited: Duration,
    waiting_since: Option<Instant>,
}

impl Pace {
    fn begin_wait(&mut self) {
        self.waiting_since.get_or_insert_with(Instant::now);
    }

    fn end_wait(&mut self) {
        if let Some(since) = self.waiting_since.take() {
            self.waited += since.elapsed();
        }
    }

    fn deadline(&self, received: u64, limits: &ProxyLimits) -> Option<Instant> {
        let since = self.waiting_since?;
        let earned = Duration::from_secs(received / limits.min_body_rate.max(1));
        let left = (limits.body_timeout + earned).saturating_sub(self.waited);
        Some(since + left.min(limits.client_timeout))
    }
}
