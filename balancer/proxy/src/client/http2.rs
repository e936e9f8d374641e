//! One stream of an HTTP/2 connection as the byte stream of one HTTP/1.1 request and its
//! response, whose body is not framed: the stream has an end of its own.

mod request;
mod response;
mod stream;
mod trailers;

pub(crate) use request::write_head;
pub(crate) use stream::Http2Stream;
