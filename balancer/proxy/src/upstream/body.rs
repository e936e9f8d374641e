//! The body of a response as its client gets it: the worker's bytes, or what compression makes
//! of them.

use std::task::{Context, Poll};

use balancer_http1::HttpError;

use super::connection::Upstream;
use crate::compression::BodyError;

impl Upstream {
    /// What has come of the response and was not taken.
    #[inline]
    pub(crate) fn body(&self) -> &[u8] {
        match &self.compressor {
            None => self.read_buffer.bytes(),
            Some(compressor) => compressor.bytes(),
        }
    }

    /// The first `count` of these bytes have been taken.
    #[inline]
    pub(crate) fn consume_body(&mut self, count: usize) {
        match &mut self.compressor {
            None => self.read_buffer.consume(count),
            Some(compressor) => compressor.consume(count),
        }
    }

    /// Has all been taken that has come?
    #[inline]
    pub(crate) fn is_drained(&self) -> bool {
        self.read_buffer.is_empty() && self.body().is_empty()
    }

    /// Compresses what has come already, if the body is compressed.
    ///
    /// # Errors
    /// When the worker's chunks are not valid.
    #[inline]
    pub(crate) fn encode_body(&mut self) -> Result<(), HttpError> {
        match &mut self.compressor {
            None => Ok(()),
            Some(compressor) => compressor.begin(&mut self.read_buffer),
        }
    }

    /// Has the end of a compressed body come and been taken? Others end by their framing.
    #[inline]
    pub(crate) fn has_encoded_all(&self) -> bool {
        self.compressor.as_ref().is_some_and(|compressor| compressor.has_ended())
    }

    /// Waits for the next part of the body, once none is left. Ready with 0 when no more comes.
    ///
    /// # Errors
    /// When the connection breaks, or a body that is compressed is not whole.
    #[inline]
    pub(crate) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, BodyError>> {
        let Self { stream, read_buffer, compressor, .. } = self;
        match compressor {
            None => read_buffer.poll_fill(stream, cx).map_err(BodyError::Read),
            Some(compressor) => compressor.poll_fill(read_buffer, stream, cx),
        }
    }
}
