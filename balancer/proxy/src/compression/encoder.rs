//! The codecs, each as something that takes bytes and gives others.

use std::io::{self, Write};

use brotli::enc::BrotliEncoderParams;
use zstd::stream::raw::CParameter;

use super::coding::Coding;

/// How much is searched for: as much as pays where a response waits for it. The default of
/// zlib and of Zstandard; for Brotli what takes about as long.
const GZIP_LEVEL: u32 = 6;
const ZSTD_LEVEL: i32 = 3;
const BROTLI_QUALITY: i32 = 4;
/// Binary logarithm of how many bytes an encoder looks back: enough for pages, and bounds
/// the memory of each.
const WINDOW: u32 = 17;
/// The smallest one that Brotli takes (RFC 7932, section 9.1).
const SHORTEST_WINDOW: u32 = 10;
/// Bytes that an encoder writes at a time.
const BLOCK: usize = 8 << 10;

/// Compresses one body.
pub(super) enum Encoder {
    Gzip(flate2::write::GzEncoder<Vec<u8>>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Encoder {
    /// For a body of this length in bytes, if it is known.
    ///
    /// # Errors
    /// When there is no memory.
    pub(super) fn new(coding: Coding, length: Option<u64>) -> io::Result<Self> {
        Ok(match coding {
            Coding::Gzip => {
                let level = flate2::Compression::new(GZIP_LEVEL);
                Self::Gzip(flate2::write::GzEncoder::new(Vec::new(), level))
            }
            Coding::Brotli => {
                let bits = length.map_or(WINDOW, |length| length.max(1).next_power_of_two().ilog2());
                let params = BrotliEncoderParams {
                    quality: BROTLI_QUALITY,
                    lgwin: bits.clamp(SHORTEST_WINDOW, WINDOW) as i32,
                    size_hint: length.map_or(0, |length| usize::try_from(length).unwrap_or(usize::MAX)),
                    ..BrotliEncoderParams::default()
                };
                Self::Brotli(Box::new(brotli::CompressorWriter::with_params(Vec::new(), BLOCK, &params)))
            }
            Coding::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL)?;
                encoder.set_parameter(CParameter::WindowLog(WINDOW))?;
                encoder.set_pledged_src_size(length)?;
                Self::Zstd(encoder)
            }
        })
    }

    /// Bytes of memory that an encoder has at most: for gzip by zlib's formula (zconf.h) and
    /// what it writes into, for the others as measured with a long body.
    pub(super) fn memory(coding: Coding) -> u64 {
        match coding {
            Coding::Gzip => 320 << 10,
            Coding::Brotli => 2_176 << 10,
            Coding::Zstd => 1_280 << 10,
        }
    }

    /// Takes `bytes`.
    ///
    /// # Errors
    /// When the codec fails.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Gzip(encoder) => encoder.write_all(bytes),
            Self::Brotli(encoder) => encoder.write_all(bytes),
            Self::Zstd(encoder) => encoder.write_all(bytes),
        }
    }

    /// Gives out all that was taken.
    ///
    /// # Errors
    /// When the codec fails.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Gzip(encoder) => encoder.flush(),
            Self::Brotli(encoder) => encoder.flush(),
            Self::Zstd(encoder) => encoder.flush(),
        }
    }

    /// Where what is given out comes.
    pub(super) fn out(&mut self) -> &mut Vec<u8> {
        match self {
            Self::Gzip(encoder) => encoder.get_mut(),
            Self::Brotli(encoder) => encoder.get_mut(),
            Self::Zstd(encoder) => encoder.get_mut(),
        }
    }

    /// Ends the body, and returns what is still to be given out.
    ///
    /// # Errors
    /// When the codec fails.
    pub(super) fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip(encoder) => encoder.finish(),
            Self::Brotli(encoder) => Ok(encoder.into_inner()),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}
