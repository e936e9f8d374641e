//! One connection, for several requests one after another.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::{Address, Client, ClientError, Limits, Request, Response, Streaming};

/// An open connection. Dropping it closes the socket.
#[derive(Debug)]
pub struct Connection {
    sender: Sender,
    /// Moves the bytes.
    driver: JoinHandle<()>,
    authority: String,
    limits: Limits,
}

#[derive(Debug)]
enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    /// With the scheme that its requests have to name.
    Http2(http2::SendRequest<Full<Bytes>>, &'static str),
}

impl Sender {
    async fn send(
        &mut self,
        request: Request,
        authority: &str,
    ) -> Result<http::Response<Incoming>, ClientError> {
        match self {
            Self::Http1(sender) => Ok(sender.send_request(request.into_http(authority)?).await?),
            Self::Http2(sender, scheme) => {
                Ok(sender.send_request(request.into_http2(scheme, authority)?).await?)
            }
        }
    }
}

impl Connection {
    /// HTTP/1.1 over a stream that the caller has connected, and has perhaps asked who
    /// is at its other end.
    ///
    /// # Errors
    /// Never on a fresh stream; it is hyper that says that it may fail.
    pub async fn over<S>(stream: S, address: &Address, limits: Limits) -> Result<Self, ClientError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(async move {
            // Its error reaches whoever waits for the response.
            let _ = connection.await;
        });
        Ok(Self { sender: Sender::Http1(sender), driver, authority: address.authority(), limits })
    }

    pub(crate) async fn to(client: &Client) -> Result<Self, ClientError> {
        let address = &client.address;
        let failed = |source| ClientError::Connect { address: address.to_string(), source };
        match address {
            Address::Tcp { host, port } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(failed)?;
                stream.set_nodelay(true).map_err(failed)?;
                Self::secured(stream, client).await
            }
            Address::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(failed)?;
                Self::secured(stream, client).await
            }
        }
    }

    async fn secured<S>(stream: S, client: &Client) -> Result<Self, ClientError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Some(tls) = &client.tls else { return Self::spoken(stream, client, "http").await };
        let connector = tokio_rustls::TlsConnector::from(Arc::clone(&tls.config));
        let stream = connector.connect(tls.name.clone(), stream).await;
        let stream =
            stream.map_err(|source| ClientError::Tls { address: client.address.to_string(), source })?;
        if client.http2 && stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(ClientError::NoHttp2 { address: client.address.to_string() });
        }
        Self::spoken(stream, client, "https").await
    }

    async fn spoken<S>(stream: S, client: &Client, scheme: &'static str) -> Result<Self, ClientError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        if !client.http2 {
            return Self::over(stream, &client.address, client.limits).await;
        }
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        let driver = tokio::spawn(async move {
            // As above.
            let _ = connection.await;
        });
        let authority = client.address.authority();
        Ok(Self { sender: Sender::Http2(sender, scheme), driver, authority, limits: client.limits })
    }

    /// Can another request be sent? It cannot once the server has closed the
    /// connection, or when a response was not read to its end.
    pub async fn is_open(&mut self) -> bool {
        match &mut self.sender {
            Sender::Http1(sender) => sender.ready().await.is_ok(),
            Sender::Http2(sender, _) => sender.ready().await.is_ok(),
        }
    }

    /// Sends `request` and waits for the whole response.
    ///
    /// # Errors
    /// When there is no complete response within the limits. The connection is of
    /// no use then.
    pub async fn send(&mut self, request: Request) -> Result<Response, ClientError> {
        let deadline = Instant::now() + self.limits.response;
        self.send_before(request, deadline).await
    }

    pub(crate) async fn send_before(
        &mut self,
        request: Request,
        deadline: Instant,
    ) -> Result<Response, ClientError> {
        let limit = self.limits.response;
        let whole = async { self.exchange(request).await?.collect().await };
        timeout_at(deadline, whole).await.unwrap_or(Err(ClientError::ResponseTimeout { limit }))
    }

    /// Sends `request` and waits for the head of the response only. The body may
    /// take any time; who reads it sets the limit.
    ///
    /// # Errors
    /// When there is no head within the limit of time.
    pub async fn stream(&mut self, request: Request) -> Result<Streaming<'_>, ClientError> {
        let limit = self.limits.response;
        let head = tokio::time::timeout(limit, self.exchange(request));
        head.await.unwrap_or(Err(ClientError::ResponseTimeout { limit }))
    }

    async fn exchange(&mut self, request: Request) -> Result<Streaming<'_>, ClientError> {
        let sent_at = std::time::Instant::now();
        let (head, body) = self.sender.send(request, &self.authority).await?.into_parts();
        Ok(Streaming::new(head, body, sent_at, self.limits.body))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}
