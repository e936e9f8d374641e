//! A client's side: its byte stream, and HTTP/1 on it.

mod http1;
mod stream;
mod tls;

pub(crate) use http1::{Http1Client, NextHead};
pub(crate) use stream::ClientStream;
pub(crate) use tls::TlsSession;
