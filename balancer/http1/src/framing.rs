//! How a body is delimited.

/// How a body is delimited (RFC 9112, section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    #[default]
    Empty,
    Length(u64),
    Chunked,
    /// The body ends with the connection; in responses only.
    UntilClose,
}
