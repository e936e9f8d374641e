//! How a client says that it speaks HTTP/2 without having been asked (RFC 9113, section
//! 3.4).

/// The part of the client's preface that looks like the head of an HTTP/1 request.
const HEAD: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";

/// Is `head`, the first one of a connection, the beginning of HTTP/2?
pub(crate) fn is_preface(head: &[u8]) -> bool {
    head == HEAD
}
