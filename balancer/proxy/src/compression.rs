//! Compression of responses that workers send as they are (content codings; RFC 9110, section
//! 8.4), for clients that accept it.
//!
//! ```text
//! request ─► Negotiation ┐
//!                        ├─► decide (pure) ─► Rewrite of the head
//! response's head ───────┘                └─► Compressor ─► Encoder
//! ```
//!
//! The codecs are those that Pingora brings along, used directly: its own module of this
//! kind cannot flush, so that a response that pauses would wait within it, and does not
//! write Brotli.

mod coding;
mod compressor;
mod decision;
mod encoder;
mod negotiation;

pub use coding::{Coding, Codings};
pub use decision::Rewrite;

pub(crate) use compressor::{BodyError, Compressor};
pub(crate) use decision::decide;
pub(crate) use negotiation::Negotiation;
