//! Stock zlib under the name that flate2's `zlib-ng` feature looks for.
pub use libz_sys::*;
