//! A small HTTP client for one server: health probes, the control socket and checks use
//! it. It speaks HTTP/1.1, and HTTP/2 and TLS where it is told to.
//!
//! - [`Client`] makes connections to one [`Address`], within its [`Limits`];
//!   [`Client::send`] is for a single request
//! - [`Connection`] is one connection, for several requests one after another;
//!   [`Session`] makes a new one when the server has closed the old one
//! - [`Streaming`] is a response whose body is read while it comes, by lines
//!
//! It follows no redirect and repeats no request: what failed, failed. Every wait
//! and every buffer has a limit. A dropped future or connection closes the socket.

mod address;
mod connection;
mod error;
mod request;
mod response;
mod session;
mod streaming;

pub use address::Address;
pub use connection::Connection;
pub use error::ClientError;
pub use request::Request;
pub use response::Response;
pub use session::Session;
pub use streaming::Streaming;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

/// How long and how large things may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For a connection to be made.
    pub connect: Duration,
    /// For a whole response: from the call, which may have to connect first, to
    /// the last byte of the body. For a [`Streaming`] response, to the end of the
    /// head.
    pub response: Duration,
    /// Bytes of a body, or of one line of a [`Streaming`] one.
    pub body: usize,
}

impl Limits {
    /// `time` for everything together, and `body` bytes.
    pub const fn new(time: Duration, body: usize) -> Self {
        Self { connect: time, response: time, body }
    }
}

/// Makes connections to one server.
#[derive(Debug, Clone)]
pub struct Client {
    address: Address,
    limits: Limits,
    tls: Option<Tls>,
    http2: bool,
}

/// How connections are secured: whom the client trusts, what it offers by ALPN, and the
/// name that the server's certificate has to have.
#[derive(Debug, Clone)]
pub struct Tls {
    pub config: Arc<ClientConfig>,
    pub name: ServerName<'static>,
}

impl Client {
    pub fn new(address: impl Into<Address>, limits: Limits) -> Self {
        Self { address: address.into(), limits, tls: None, http2: false }
    }

    /// The same, over TLS.
    pub fn with_tls(self, tls: Tls) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// The same by HTTP/2: over TLS when the server chooses it by ALPN, else with prior
    /// knowledge (RFC 9113, sections 3.2 and 3.3).
    pub fn with_http2(self) -> Self {
        Self { http2: true, ..self }
    }

    /// The same with other limits.
    pub fn with_limits(&self, limits: Limits) -> Self {
        Self { limits, ..self.clone() }
    }

    pub fn address(&self) -> &Address {
        &self.address
    }

    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Sends `request` on a connection of its own, which it asks the server to
    /// close.
    ///
    /// # Errors
    /// When there is no complete response within the limits, whatever its status.
    pub async fn send(&self, request: Request) -> Result<Response, ClientError> {
        let deadline = Instant::now() + self.limits.response;
        let mut connection = self.connect_before(deadline).await?;
        connection.send_before(request.close(), deadline).await
    }

    /// Makes a connection that is kept until it is dropped.
    ///
    /// # Errors
    /// When there is none within the limit.
    pub async fn connect(&self) -> Result<Connection, ClientError> {
        self.connect_before(Instant::now() + self.limits.connect).await
    }

    /// A client that keeps its connection between requests.
    pub fn session(&self) -> Session {
        Session::new(self.clone())
    }

    async fn connect_before(&self, deadline: Instant) -> Result<Connection, ClientError> {
        let limit = deadline.min(Instant::now() + self.limits.connect);
        let connecting = Connection::to(self);
        timeout_at(limit, connecting).await.unwrap_or_else(|_| {
            let limit = self.limits.connect.min(self.limits.response);
            Err(ClientError::ConnectTimeout { address: self.address.to_string(), limit })
        })
    }
}
