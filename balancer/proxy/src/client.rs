//! A client's side: its byte stream, which may be one stream of HTTP/2, and HTTP/1 on it.

mod http1;
mod http2;
mod stream;
mod tls;

pub(crate) use http1::{Http1Client, NextHead};
pub(crate) use http2::{Http2Stream, write_head};
pub(crate) use stream::ClientStream;
pub(crate) use tls::TlsSession;
