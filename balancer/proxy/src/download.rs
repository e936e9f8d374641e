//! The response on its way to the client, as it comes.

use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use balancer_http1::chunked::{self, Decoder};
use balancer_http1::{Framing, HttpError};

use crate::client::Http1Client;
use crate::stall::Stall;
use crate::upstream::Upstream;
use crate::write_buffer::poll_write;

enum Body {
    Length(u64),
    Chunked(Decoder),
    UntilClose,
}

pub(crate) struct Download {
    /// What is still to come; `None` once the worker has sent all of it.
    body: Option<Body>,
    /// The client gets chunks.
    is_chunked: bool,
    sent: u64,
    /// Touched whenever part of the response has come or gone.
    pub(crate) stall: Stall,
}

/// Why a response ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DownloadError {
    #[error("the client has closed its connection")]
    ClientClosed,
    #[error("the client did not take the response in time")]
    ClientTimeout,
    #[error("the worker closed the connection within its response")]
    WorkerClosed,
    #[error("the worker broke the connection within its response: {0}")]
    WorkerReset(io::Error),
    #[error("the worker did not go on with its response within {0:?} (--response-timeout)")]
    WorkerTimeout(Duration),
    #[error("the worker's chunks are not valid: {0}")]
    InvalidChunks(HttpError),
}

impl Download {
    /// The worker frames the body as in `from`, the client gets it as in `to`.
    pub(crate) fn new(from: Framing, to: Framing) -> Self {
        let body = match from {
            Framing::Empty => None,
            Framing::Length(length) => Some(Body::Length(length)),
            Framing::Chunked => Some(Body::Chunked(Decoder::default())),
            Framing::UntilClose => Some(Body::UntilClose),
        };
        Self { body, is_chunked: to == Framing::Chunked, sent: 0, stall: Stall::default() }
    }

    /// Bytes of the body that the client got so far, or that are in its write buffer.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// Moves what has come into the client's write buffer, behind the head if that is
    /// still there: small responses go out in one piece.
    ///
    /// # Errors
    /// When the worker's chunks are not valid.
    pub(crate) fn stage(
        &mut self,
        client: &mut Http1Client,
        upstream: &mut Upstream,
    ) -> Result<(), HttpError> {
        let input = upstream.read_buffer.bytes();
        if input.is_empty() || self.body.is_none() {
            return Ok(());
        }
        let out = client.write_buffer.bytes();
        let (is_chunked, sent) = (self.is_chunked, &mut self.sent);
        let mut add = |data: &[u8]| {
            *sent += data.len() as u64;
            if is_chunked { chunked::encode(data, out) } else { out.extend_from_slice(data) }
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
                let used = decoder.decode(input, add)?;
                (used, decoder.is_done())
            }
        };
        upstream.read_buffer.consume(used);
        if ended {
            self.end(client);
        }
        Ok(())
    }

    fn end(&mut self, client: &mut Http1Client) {
        self.body = None;
        if self.is_chunked {
            client.write_buffer.bytes().extend_from_slice(chunked::LAST);
        }
    }

    /// Passes on as much as possible. Ready when the client has all of it.
    pub(crate) fn poll(
        &mut self,
        client: &mut Http1Client,
        upstream: &mut Upstream,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), DownloadError>> {
        loop {
            while !client.write_buffer.is_flushed() {
                if ready!(client.write_buffer.poll_write(&mut client.stream, cx)).is_err() {
                    return Poll::Ready(Err(DownloadError::ClientClosed));
                }
                self.stall.touch();
            }
            client.write_buffer.clear();
            if self.body.is_none() {
                return Poll::Ready(Ok(()));
            }
            if upstream.read_buffer.is_empty() {
                let filled = ready!(upstream.read_buffer.poll_fill(&mut upstream.stream, cx));
                match filled.map_err(DownloadError::WorkerReset)? {
                    0 if matches!(self.body, Some(Body::UntilClose)) => {
                        self.end(client);
                        continue;
                    }
                    0 => return Poll::Ready(Err(DownloadError::WorkerClosed)),
                    _ => self.stall.touch(),
                }
            }
            if self.is_chunked || matches!(self.body, Some(Body::Chunked(_))) {
                self.stage(client, upstream).map_err(DownloadError::InvalidChunks)?;
            } else {
                ready!(self.poll_direct(client, upstream, cx))?;
            }
        }
    }

    /// Writes from the worker's read buffer to the client's socket, without a copy.
    fn poll_direct(
        &mut self,
        client: &mut Http1Client,
        upstream: &mut Upstream,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), DownloadError>> {
        let input = upstream.read_buffer.bytes();
        let count = match &self.body {
            Some(Body::Length(left)) => usize::try_from(*left).unwrap_or(usize::MAX).min(input.len()),
            _ => input.len(),
        };
        let written = ready!(poll_write(&mut client.stream, &input[..count], cx));
        let written = written.map_err(|_| DownloadError::ClientClosed)?;
        self.stall.touch();
        self.sent += written as u64;
        upstream.read_buffer.consume(written);
        if let Some(Body::Length(left)) = &mut self.body {
            *left -= written as u64;
            if *left == 0 {
                self.body = None;
            }
        }
        Poll::Ready(Ok(()))
    }
}
