//! The request on its way to a worker: its head, and its body, which is received before
//! there is a worker or as it comes.

mod pace;

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use balancer_http1::chunked::{self, Decoder};
use balancer_http1::{Framing, HttpError, trailers};
use tokio::time::Instant;

use crate::block_buffer::BlockBuffer;
use crate::buffer_memory::{BufferMemory, Part};
use crate::client::Http1Client;
use crate::field::ProxyField;
use crate::limits::ProxyLimits;
use crate::read_buffer::CAPACITY;
use crate::stall::Stall;
use crate::upstream::Upstream;
use crate::write_buffer::{WriteBuffer, poll_write};
use pace::Pace;

/// A request is kept up to this size in bytes, to be sent again to another worker. A body
/// that is received before there is a worker is kept whole.
const MAX_REPLAYABLE: usize = 64 * 1024;
/// Most bytes by which chunks grow when they are written anew: those that the end of the
/// input cuts, and the last one.
pub(crate) const CHUNK_SLACK: usize = 64;

enum Body {
    Length(u64),
    Chunked(Decoder),
}

impl Body {
    /// What may yet be appended beside the input, as it was kept until the end.
    fn kept(&self) -> usize {
        match self {
            Self::Length(_) => 0,
            Self::Chunked(decoder) => decoder.trailers().len(),
        }
    }
}

pub(crate) struct Upload {
    /// What is still to come; `None` once the client has sent all of it.
    body: Option<Body>,
    write_buffer: WriteBuffer,
    /// Length of the head in bytes.
    head: usize,
    /// What was received behind the content of the write buffer before there was a worker.
    overflow: BlockBuffer,
    /// The worker gets the trailers.
    has_trailers: bool,
    /// The request may be sent twice, if nothing of it was dropped.
    is_idempotent: bool,
    /// The buffers hold the request from its first byte on.
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
    pub(crate) fn new(
        write_buffer: WriteBuffer,
        framing: Framing,
        has_trailers: bool,
        is_idempotent: bool,
        limits: &ProxyLimits,
    ) -> Self {
        let body = match framing {
            Framing::Length(length) => Some(Body::Length(length)),
            Framing::Chunked => Some(Body::Chunked(Decoder::default())),
            Framing::Empty | Framing::UntilClose => None,
        };
        Self {
            body,
            head: write_buffer.len(),
            write_buffer,
            overflow: BlockBuffer::default(),
            has_trailers,
            is_idempotent,
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
        self.is_received() && !self.is_refused && self.is_flushed()
    }

    /// Can it be sent again from the beginning?
    pub(crate) fn is_replayable(&self) -> bool {
        self.is_replayable
    }

    /// Will it be possible to send it again, when all of it has come?
    pub(crate) fn will_be_replayable(&self) -> bool {
        match &self.body {
            None => self.is_replayable,
            // What did not fit into the buffer streams: it and what is in blocks is not kept.
            Some(Body::Length(left)) => {
                let kept = (self.write_buffer.len() as u64).saturating_add(*left);
                self.is_replayable && self.overflow.is_empty() && kept <= MAX_REPLAYABLE as u64
            }
            Some(Body::Chunked(_)) => false,
        }
    }

    /// Has any of it been written to the worker's connection?
    pub(crate) fn has_begun(&self) -> bool {
        self.write_buffer.sent() > 0 || !self.is_replayable
    }

    /// Does the worker have all that has come so far?
    pub(crate) fn is_flushed(&self) -> bool {
        self.write_buffer.is_flushed() && self.overflow.unsent().is_empty()
    }

    /// Does the worker have all that has come, and is more to come?
    pub(crate) fn waits_for_client(&self) -> bool {
        !self.is_received() && !self.is_refused && self.is_flushed()
    }

    /// Bytes of the body that the client has sent so far.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Begins again, for another worker.
    pub(crate) fn rewind(&mut self) {
        self.write_buffer.rewind();
        self.overflow.rewind();
        self.is_refused = false;
    }

    /// The worker has answered, so nothing is sent again: frees what it has of the request,
    /// or does not want.
    pub(crate) fn release(&mut self) {
        if !self.is_flushed() && !self.is_refused {
            return;
        }
        self.overflow.clear();
        if self.is_received() {
            self.write_buffer.clear();
        }
        self.is_replayable = false;
    }

    /// When the client must have gone on with its body; `None` while it is not waited for.
    pub(crate) fn deadline(&self, limits: &ProxyLimits) -> Option<Instant> {
        self.pace.deadline(self.received, limits)
    }

    /// Receives the body while there is no worker yet, up to `limit` bytes. Ready when it
    /// is whole, or no more of it can be kept.
    pub(crate) fn poll_receive(
        &mut self,
        client: &mut Http1Client,
        memory: &Arc<BufferMemory>,
        limit: usize,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), UploadError>> {
        while self.body.is_some() {
            if client.read_buffer.is_empty() {
                ready!(self.poll_fill(client, cx))?;
            }
            let stored = self.write_buffer.len() - self.head + self.overflow.len();
            let count = client.read_buffer.bytes().len().min(limit.saturating_sub(stored));
            let fits = self.overflow.is_empty() && self.write_buffer.len() + count <= MAX_REPLAYABLE;
            let wanted = count + CHUNK_SLACK + self.body.as_ref().map_or(0, Body::kept);
            let is_full = !fits && count > 0 && !self.overflow.reserve(memory, wanted);
            if is_full {
                memory.refused(Part::Request);
            }
            if is_full || count == 0 {
                break;
            }
            self.take(client, count, if fits { Place::WriteBuffer } else { Place::Overflow })?;
        }
        Poll::Ready(Ok(()))
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
            && self.overflow.is_empty()
            && self.body.is_some()
            && !client.read_buffer.is_empty()
        {
            self.take(client, usize::MAX, Place::WriteBuffer)?;
        }
        loop {
            ready!(self.poll_flush(upstream, cx));
            if self.is_refused || self.body.is_none() {
                return Poll::Ready(Ok(()));
            }
            if !self.is_replayable {
                self.write_buffer.clear();
            }
            if client.read_buffer.is_empty() {
                ready!(self.poll_fill(client, cx))?;
            }
            self.take(client, usize::MAX, Place::WriteBuffer)?;
        }
    }

    /// Sends what has been received. Ready when the worker has it, or takes no more.
    fn poll_flush(&mut self, upstream: &mut Upstream, cx: &mut Context<'_>) -> Poll<()> {
        // The worker may have answered without reading all: its response counts.
        while !self.write_buffer.is_flushed() && !self.is_refused {
            self.is_refused = ready!(self.write_buffer.poll_write(&mut upstream.stream, cx)).is_err();
            self.stall.touch();
        }
        while !self.overflow.unsent().is_empty() && !self.is_refused {
            match ready!(poll_write(&mut upstream.stream, self.overflow.unsent(), cx)) {
                Err(_) => self.is_refused = true,
                // Only a whole request can be sent again.
                Ok(count) if self.body.is_none() && self.is_idempotent => self.overflow.advance(count),
                Ok(count) => {
                    self.overflow.consume(count);
                    self.is_replayable = false;
                }
            }
            self.stall.touch();
        }
        Poll::Ready(())
    }

    /// Reads once from the client, of whose body more is to come.
    fn poll_fill(&mut self, client: &mut Http1Client, cx: &mut Context<'_>) -> Poll<Result<(), UploadError>> {
        match client.poll_fill(cx) {
            Poll::Ready(Ok(0)) => Poll::Ready(Err(UploadError::Rejected(BODY_TOO_SHORT))),
            Poll::Ready(Ok(_)) => {
                self.pace.end_wait();
                self.stall.touch();
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(_)) => Poll::Ready(Err(UploadError::ClientClosed)),
            Poll::Pending => {
                self.pace.begin_wait();
                Poll::Pending
            }
        }
    }

    /// Moves what has come, up to `limit` bytes, into a buffer, framed as the head says.
    fn take(&mut self, client: &mut Http1Client, limit: usize, place: Place) -> Result<(), HttpError> {
        let input = client.read_buffer.bytes();
        let input = &input[..limit.min(input.len())];
        let before = self.write_buffer.len();
        let (write_buffer, overflow) = (self.write_buffer.bytes(), &mut self.overflow);
        let mut add = |bytes: &[u8]| match place {
            Place::WriteBuffer => write_buffer.extend_from_slice(bytes),
            Place::Overflow => overflow.append(bytes),
        };
        let (used, ended) = match &mut self.body {
            None => (0, true),
            Some(Body::Length(left)) => {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                add(&input[..count]);
                *left -= count as u64;
                self.received += count as u64;
                (count, *left == 0)
            }
            Some(Body::Chunked(decoder)) => {
                let received = &mut self.received;
                let used = decoder.decode(input, |data| {
                    *received += data.len() as u64;
                    chunked::encode_with(data, &mut add);
                })?;
                if *received > self.max_request_body {
                    return Err(body_too_large(self.max_request_body));
                }
                if decoder.is_done() {
                    let lines = if self.has_trailers { decoder.trailers() } else { &[] };
                    trailers::end_with::<ProxyField>(lines, add);
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

/// Which buffer a part of the body goes to.
#[derive(Debug, Clone, Copy)]
enum Place {
    WriteBuffer,
    Overflow,
}

impl From<HttpError> for UploadError {
    fn from(error: HttpError) -> Self {
        Self::Rejected(error)
    }
}

pub(crate) fn body_too_large(max_request_body: u64) -> HttpError {
    let detail = format!("the body is longer than {max_request_body} bytes; send less");
    HttpError { status: 413, detail: detail.into() }
}

const BODY_TOO_SHORT: HttpError = HttpError::bad("the body is shorter than the head announced");

/// The client did not go on with its body in time.
pub(crate) const SLOW_BODY: HttpError = HttpError::new(408, "the request's body did not arrive in time");

/// The worker that had begun with the request is to end, and the rest of it has not come.
pub(crate) const LATE_BODY: HttpError =
    HttpError::new(408, "the request's body did not arrive before its worker had to end");
