//! A worker's body on its way through an encoder: the bytes that a download takes instead of
//! the worker's.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use balancer_http1::{Framing, HttpError};
use tokio::io::AsyncRead;

use super::coding::Coding;
use super::encoder::Encoder;
use crate::body_reader::BodyReader;
use crate::buffer_memory::{BufferMemory, Reserved};
use crate::read_buffer::ReadBuffer;

/// Why no more of a body comes.
#[derive(Debug)]
pub(crate) enum BodyError {
    /// The worker has closed the connection within it.
    Closed,
    Read(io::Error),
    InvalidChunks(HttpError),
    Codec(io::Error),
}

/// Compresses one body.
///
/// Invariant: what was read from the worker is given out before more is read, so that its
/// memory is that of the encoder and of what one read buffer becomes.
pub(crate) struct Compressor {
    /// `None` once all of the body has been read.
    body: Option<BodyReader>,
    /// `None` once all of it has been given out, or cannot be.
    encoder: Option<Encoder>,
    /// What has been given out, of which the first `used` bytes have been taken.
    out: Vec<u8>,
    used: usize,
    /// The encoder has taken something that it has not given out.
    is_dirty: bool,
    /// All of it has been given out.
    is_whole: bool,
    failure: Option<BodyError>,
    read: u64,
    written: u64,
    memory: Reserved,
}

impl Compressor {
    /// Compresses a body with this framing; `None` if there is no memory for it.
    pub(crate) fn new(coding: Coding, framing: Framing, memory: &Arc<BufferMemory>) -> Option<Self> {
        let length = match framing {
            Framing::Length(length) => Some(length),
            Framing::Empty | Framing::Chunked | Framing::UntilClose => None,
        };
        let reserved = memory.reserve(Encoder::memory(coding))?;
        Some(Self {
            body: Some(BodyReader::new(framing)?),
            encoder: Some(Encoder::new(coding, length).ok()?),
            out: Vec::new(),
            used: 0,
            is_dirty: false,
            is_whole: false,
            failure: None,
            read: 0,
            written: 0,
            memory: reserved,
        })
    }

    /// What is there for the client.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.out[self.used..]
    }

    /// The first `count` of these bytes have been taken.
    pub(crate) fn consume(&mut self, count: usize) {
        self.used += count;
        if self.used == self.out.len() {
            self.out.clear();
            self.used = 0;
        }
    }

    /// Has all of the body been given out and taken?
    pub(crate) fn has_ended(&self) -> bool {
        self.is_whole && self.bytes().is_empty()
    }

    /// Compresses what has come with the head.
    ///
    /// # Errors
    /// When the worker's chunks are not valid.
    pub(crate) fn begin(&mut self, input: &mut ReadBuffer) -> Result<(), HttpError> {
        self.encode(input);
        match self.failure.take() {
            Some(BodyError::InvalidChunks(error)) => Err(error),
            failure => {
                self.failure = failure;
                Ok(())
            }
        }
    }

    /// Compresses what is in the worker's read buffer.
    fn encode(&mut self, input: &mut ReadBuffer) {
        let (Some(body), Some(encoder)) = (&mut self.body, &mut self.encoder) else { return };
        if input.is_empty() {
            return;
        }
        let (mut read, mut failed) = (0, Ok(()));
        let result = body.read(input.bytes(), |bytes| {
            if failed.is_ok() {
                failed = encoder.write(bytes);
            }
            read += bytes.len() as u64;
        });
        self.read += read;
        self.is_dirty |= read > 0;
        match (result, failed) {
            (Err(error), _) => self.fail(BodyError::InvalidChunks(error)),
            (_, Err(error)) => self.fail(BodyError::Codec(error)),
            (Ok((used, has_ended)), Ok(())) => {
                input.consume(used);
                self.give_out();
                if has_ended {
                    self.end();
                }
            }
        }
    }

    /// Reads until there are bytes for the client, and returns how many; 0 once there are no
    /// more. A worker that pauses makes all come out that it has sent. There must be none left.
    ///
    /// # Errors
    /// When the body is not whole, behind all that has come of it.
    pub(crate) fn poll_fill<S: AsyncRead + Unpin>(
        &mut self,
        input: &mut ReadBuffer,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<Result<usize, BodyError>> {
        loop {
            self.encode(input);
            if !self.bytes().is_empty() {
                return Poll::Ready(Ok(self.bytes().len()));
            }
            if self.body.is_none() && !self.is_whole {
                return Poll::Ready(Err(self.failure.take().unwrap_or(BodyError::Closed)));
            }
            if self.is_whole {
                return Poll::Ready(Ok(0));
            }
            match input.poll_fill(stream, cx) {
                Poll::Ready(Ok(0)) if matches!(self.body, Some(BodyReader::UntilClose)) => self.end(),
                Poll::Ready(Ok(0)) => self.fail(BodyError::Closed),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(err)) => self.fail(BodyError::Read(err)),
                Poll::Pending if self.is_dirty => self.flush(),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn flush(&mut self) {
        self.is_dirty = false;
        let Some(encoder) = &mut self.encoder else { return };
        match encoder.flush() {
            Ok(()) => self.give_out(),
            Err(error) => self.fail(BodyError::Codec(error)),
        }
    }

    /// The body is whole.
    fn end(&mut self) {
        self.body = None;
        match self.encoder.take().map(Encoder::finish) {
            Some(Ok(rest)) => {
                self.written += rest.len() as u64;
                self.out.extend_from_slice(&rest);
                self.is_whole = true;
            }
            Some(Err(error)) => self.fail(BodyError::Codec(error)),
            None => {}
        }
    }

    /// The body is not whole: what has come of it still goes out, and no end.
    fn fail(&mut self, failure: BodyError) {
        if !matches!(failure, BodyError::Codec(_)) {
            self.flush();
        }
        (self.body, self.encoder) = (None, None);
        self.failure.get_or_insert(failure);
    }

    fn give_out(&mut self) {
        let Some(encoder) = &mut self.encoder else { return };
        let bytes = encoder.out();
        self.written += bytes.len() as u64;
        if self.out.is_empty() {
            std::mem::swap(&mut self.out, bytes);
        } else {
            self.out.append(bytes);
        }
    }
}

impl Drop for Compressor {
    fn drop(&mut self) {
        let stats = &self.memory.counters().compression;
        stats.read.fetch_add(self.read, Ordering::Relaxed);
        stats.written.fetch_add(self.written, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
