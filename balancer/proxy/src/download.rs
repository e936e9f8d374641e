//! The response on its way to the client, as it comes. A client that takes it slowly
//! gets it from memory, and its worker is free as soon as all of it is there.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use balancer_http1::{Framing, HttpError, chunked, trailers};

use crate::body_reader::BodyReader;
use crate::client::Http1Client;
use crate::compression::BodyError;
use crate::exchange::BodyPlan;
use crate::field::ProxyField;
use crate::read_ahead::{ReadAhead, ReadAheadLimits};
use crate::stall::Stall;
use crate::upstream::Upstream;
use crate::write_buffer::poll_write;

pub(crate) struct Download<'a> {
    /// What is still to come; `None` once the worker has sent all of it.
    body: Option<BodyReader>,
    /// The client gets chunks.
    is_chunked: bool,
    /// The client gets trailers.
    has_trailers: bool,
    /// What is sent behind all else, if it was not appended to it.
    end: Vec<u8>,
    sent: u64,
    pub(crate) ahead: ReadAhead<'a>,
    /// Why no more comes from the worker; told once the client has what did come.
    failure: Option<DownloadError>,
    /// Touched whenever part of the response has come.
    pub(crate) stall: Stall,
    /// Touched whenever part of the response has gone.
    pub(crate) client_stall: Stall,
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
    #[error("the worker had to end before all of its response had come (--drain-timeout)")]
    DrainTimeout,
    #[error("the client had not sent or taken all before the worker had to end (--drain-timeout)")]
    LateClient,
    /// An event stream has no end of its own, and its worker is to end.
    #[error("the worker is to end, and its event stream with it")]
    Drained,
    #[error("the worker's chunks are not valid: {0}")]
    InvalidChunks(HttpError),
    #[error("the response could not be compressed: {0}")]
    Codec(io::Error),
}

impl From<BodyError> for DownloadError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Closed => Self::WorkerClosed,
            BodyError::Read(err) => Self::WorkerReset(err),
            BodyError::InvalidChunks(error) => Self::InvalidChunks(error),
            BodyError::Codec(err) => Self::Codec(err),
        }
    }
}

impl DownloadError {
    /// What this says of an event stream whose worker was asked to end.
    pub(crate) fn of_drained_stream(self) -> Self {
        match self {
            Self::WorkerClosed | Self::WorkerReset(_) | Self::DrainTimeout | Self::LateClient => {
                Self::Drained
            }
            error => error,
        }
    }
}

impl<'a> Download<'a> {
    /// The body comes framed as in `from`, the client gets it as is planned. With `limits` it is
    /// read ahead of a slow client.
    pub(crate) fn new(from: Framing, plan: BodyPlan, limits: Option<ReadAheadLimits<'a>>) -> Self {
        Self {
            body: BodyReader::new(from),
            is_chunked: plan.to == Framing::Chunked,
            has_trailers: plan.trailers,
            end: Vec::new(),
            sent: 0,
            ahead: ReadAhead::new(limits),
            failure: None,
            stall: Stall::default(),
            client_stall: Stall::default(),
        }
    }

    /// Bytes of the body that the client got so far, or that are in its write buffer.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.saturating_sub(self.ahead.buffer.len() as u64)
    }

    /// Has all of the response come that will come?
    pub(crate) fn is_received(&self) -> bool {
        self.body.is_none()
    }

    /// Does the client have all that has come through here?
    pub(crate) fn is_flushed(&self, client: &Http1Client) -> bool {
        client.write_buffer.is_flushed() && self.ahead.buffer.is_empty() && self.end.is_empty()
    }

    /// Has the worker failed within its response?
    pub(crate) fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// No more comes from the worker.
    pub(crate) fn fail(&mut self, failure: DownloadError) {
        self.body = None;
        self.failure = Some(failure);
    }

    /// How it ended, once the client has all that has come.
    fn result(&mut self) -> Result<(), DownloadError> {
        self.failure.take().map_or(Ok(()), Err)
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
        let input = upstream.body();
        if input.is_empty() || self.body.is_none() {
            return Ok(());
        }
        let out = client.write_buffer.bytes();
        let (used, ended) = self.decode(input, |bytes, _| out.extend_from_slice(bytes))?;
        upstream.consume_body(used);
        if ended || upstream.has_encoded_all() {
            self.end(client);
        }
        Ok(())
    }

    /// Reads `input` until it or the body ends, and passes it to `out` as the client gets
    /// it. Returns how many bytes it has read, and whether the body has ended.
    fn decode(
        &mut self,
        input: &[u8],
        mut out: impl FnMut(&[u8], &mut ReadAhead<'a>),
    ) -> Result<(usize, bool), HttpError> {
        let (is_chunked, sent, ahead) = (self.is_chunked, &mut self.sent, &mut self.ahead);
        let add = |data: &[u8]| {
            *sent += data.len() as u64;
            if is_chunked { chunked::encode_with(data, |part| out(part, ahead)) } else { out(data, ahead) }
        };
        match self.body.as_mut() {
            None => Ok((0, true)),
            Some(body) => body.read(input, add),
        }
    }

    /// All of the body has come.
    fn end(&mut self, client: &mut Http1Client) {
        let body = self.body.take();
        let trailers = match &body {
            Some(BodyReader::Chunked(decoder)) if self.has_trailers => decoder.trailers(),
            _ => &[],
        };
        if !self.is_chunked {
            return client.stream.set_trailers(trailers);
        }
        if self.ahead.buffer.is_empty() {
            let out = client.write_buffer.bytes();
            trailers::end_with::<ProxyField>(trailers, |part| out.extend_from_slice(part));
        } else if trailers.is_empty() {
            // Every room that was made had some more for it.
            self.ahead.buffer.append(chunked::LAST);
        } else {
            trailers::end_with::<ProxyField>(trailers, |part| self.end.extend_from_slice(part));
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
            if self.poll_flush(client, cx)?.is_pending() {
                ready!(self.poll_read_ahead(client, upstream, cx));
                continue;
            }
            if self.body.is_none() {
                return Poll::Ready(self.result());
            }
            if upstream.body().is_empty() {
                match ready!(upstream.poll_body(cx))? {
                    0 if matches!(self.body, Some(BodyReader::UntilClose)) => {
                        self.end(client);
                        continue;
                    }
                    0 => return Poll::Ready(Err(DownloadError::WorkerClosed)),
                    _ => self.stall.touch(),
                }
            }
            if self.is_chunked || matches!(self.body, Some(BodyReader::Chunked(_))) {
                self.stage(client, upstream).map_err(DownloadError::InvalidChunks)?;
            } else if self.poll_direct(client, upstream, cx)?.is_pending() {
                self.ahead.begin_wait();
                ready!(self.poll_read_ahead(client, upstream, cx));
            }
        }
    }

    /// Writes what has come. Ready when the client has it.
    fn poll_flush(
        &mut self,
        client: &mut Http1Client,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), DownloadError>> {
        while !self.is_flushed(client) {
            if client.write_buffer.is_flushed() && self.ahead.buffer.is_empty() {
                client.write_buffer.bytes().append(&mut self.end);
            }
            let polled = if client.write_buffer.is_flushed() {
                let polled = poll_write(&mut client.stream, self.ahead.buffer.unsent(), cx);
                polled.map_ok(|count| self.ahead.buffer.consume(count))
            } else {
                client.write_buffer.poll_write(&mut client.stream, cx).map_ok(|_| ())
            };
            match polled {
                Poll::Ready(Ok(())) => self.has_taken(),
                Poll::Ready(Err(_)) => return Poll::Ready(Err(DownloadError::ClientClosed)),
                Poll::Pending => {
                    self.ahead.begin_wait();
                    return Poll::Pending;
                }
            }
        }
        client.write_buffer.clear();
        Poll::Ready(Ok(()))
    }

    /// The client has taken something.
    fn has_taken(&mut self) {
        self.client_stall.touch();
        self.ahead.end_wait();
    }

    /// Reads once, or keeps what was read, while the client takes nothing. Ready when
    /// something was done; pending as well when no more is to be kept.
    fn poll_read_ahead(
        &mut self,
        client: &mut Http1Client,
        upstream: &mut Upstream,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        if self.body.is_none() || !self.ahead.is_on() {
            return Poll::Pending;
        }
        if upstream.body().is_empty() {
            match ready!(upstream.poll_body(cx)) {
                Ok(0) if matches!(self.body, Some(BodyReader::UntilClose)) => self.end(client),
                Ok(0) => self.fail(DownloadError::WorkerClosed),
                Err(err) => self.fail(err.into()),
                Ok(_) => self.stall.touch(),
            }
            return Poll::Ready(());
        }
        let Some(count) = self.ahead.reserve(upstream.body().len()) else {
            return Poll::Pending;
        };
        let input = &upstream.body()[..count];
        match self.decode(input, |bytes, ahead| ahead.buffer.append(bytes)) {
            Ok((used, ended)) => {
                upstream.consume_body(used);
                if ended {
                    self.end(client);
                }
            }
            Err(error) => self.fail(DownloadError::InvalidChunks(error)),
        }
        Poll::Ready(())
    }

    /// Gives the client the rest, without the worker. `timeout` is the longest time until
    /// it takes the next part.
    ///
    /// # Errors
    /// When the client does not take it, or the worker had failed.
    pub(crate) async fn finish(
        &mut self,
        client: &mut Http1Client,
        timeout: Duration,
    ) -> Result<(), DownloadError> {
        poll_fn(|cx| {
            if let Poll::Ready(result) = self.poll_flush(client, cx) {
                return Poll::Ready(result.and_then(|()| self.result()));
            }
            if client.poll_closed(cx).is_ready() {
                return Poll::Ready(Err(DownloadError::ClientClosed));
            }
            let deadline = self.client_stall.deadline(timeout);
            if client.timer.poll(deadline, cx) {
                Poll::Ready(Err(DownloadError::ClientTimeout))
            } else {
                Poll::Pending
            }
        })
        .await
    }

    /// Writes from the worker's read buffer to the client's socket, without a copy.
    fn poll_direct(
        &mut self,
        client: &mut Http1Client,
        upstream: &mut Upstream,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), DownloadError>> {
        let input = upstream.body();
        let count = match &self.body {
            Some(BodyReader::Length(left)) => usize::try_from(*left).unwrap_or(usize::MAX).min(input.len()),
            _ => input.len(),
        };
        let written = ready!(poll_write(&mut client.stream, &input[..count], cx));
        let written = written.map_err(|_| DownloadError::ClientClosed)?;
        self.has_taken();
        self.sent += written as u64;
        upstream.consume_body(written);
        if let Some(BodyReader::Length(left)) = &mut self.body {
            *left -= written as u64;
            if *left == 0 {
                self.body = None;
            }
        }
        Poll::Ready(Ok(()))
    }
}
