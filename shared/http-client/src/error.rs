//! Why there is no response.

use std::error::Error;
use std::io;
use std::time::Duration;

use shared_tls_client::words;

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("could not connect to {address}: {source}")]
    Connect { address: String, source: io::Error },
    #[error("could not connect to {address}: {}", words::of_handshake(source))]
    Tls { address: String, source: io::Error },
    #[error("could not connect to {address}: it does not speak HTTP/2 (it did not choose h2 by ALPN)")]
    NoHttp2 { address: String },
    #[error("no connection to {address} within {limit:?}")]
    ConnectTimeout { address: String, limit: Duration },
    #[error("no answer within {limit:?}")]
    ResponseTimeout { limit: Duration },
    /// What came is not HTTP, or the connection ended before the response did.
    #[error("no valid HTTP answer: {}", chain(.0))]
    Protocol(#[from] hyper::Error),
    #[error("a body of more than {limit} bytes")]
    BodyTooLarge { limit: usize },
    #[error("a line of more than {limit} bytes")]
    LineTooLong { limit: usize },
    #[error("invalid request: {0:?} is not a valid {1}")]
    InvalidRequest(String, &'static str),
}

impl ClientError {
    /// There was no connection: the server has not seen the request.
    pub fn is_connect(&self) -> bool {
        matches!(
            self,
            Self::Connect { .. } | Self::ConnectTimeout { .. } | Self::Tls { .. } | Self::NoHttp2 { .. }
        )
    }

    /// The server's certificate is not accepted: what is wrong with it.
    pub fn untrusted(&self) -> Option<String> {
        match self {
            Self::Tls { source, .. } if words::is_about_certificate(source) => words::of_io(source),
            _ => None,
        }
    }

    /// A limit of time has passed.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::ConnectTimeout { .. } | Self::ResponseTimeout { .. })
    }

    /// Something came that is not HTTP/1.1.
    pub fn is_not_http(&self) -> bool {
        matches!(self, Self::Protocol(err) if err.is_parse())
    }

    /// The error of the operating system with which connecting failed.
    pub fn connect_error(&self) -> Option<&io::Error> {
        match self {
            Self::Connect { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// The message with its causes, which hyper keeps apart.
fn chain(err: &hyper::Error) -> String {
    let mut text = err.to_string();
    let mut source = err.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
