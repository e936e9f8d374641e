//! A worker's body, read by its framing.

use balancer_http1::chunked::Decoder;
use balancer_http1::{Framing, HttpError};

/// What of a body is still to come.
#[derive(Debug)]
pub(crate) enum BodyReader {
    /// Bytes.
    Length(u64),
    Chunked(Decoder),
    UntilClose,
}

impl BodyReader {
    /// `None` where there is no body.
    pub(crate) fn new(framing: Framing) -> Option<Self> {
        match framing {
            Framing::Empty => None,
            Framing::Length(length) => Some(Self::Length(length)),
            Framing::Chunked => Some(Self::Chunked(Decoder::default())),
            Framing::UntilClose => Some(Self::UntilClose),
        }
    }

    /// Reads `input` until it or the body ends, and passes the body's bytes to `data`.
    /// Returns how many bytes it has read, and whether the body has ended.
    ///
    /// # Errors
    /// When chunks are not valid.
    pub(crate) fn read(
        &mut self,
        input: &[u8],
        mut data: impl FnMut(&[u8]),
    ) -> Result<(usize, bool), HttpError> {
        match self {
            Self::UntilClose => {
                data(input);
                Ok((input.len(), false))
            }
            Self::Length(left) => {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                data(&input[..count]);
                *left -= count as u64;
                Ok((count, *left == 0))
            }
            Self::Chunked(decoder) => {
                let used = decoder.decode(input, data)?;
                Ok((used, decoder.is_done()))
            }
        }
    }
}
