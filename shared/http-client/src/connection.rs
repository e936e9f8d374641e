//! One connection, for several requests one after another.

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::{Address, ClientError, Limits, Request, Response, Streaming};

/// An open connection. Dropping it closes the socket.
#[derive(Debug)]
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// Moves the bytes.
    driver: JoinHandle<()>,
    authority: String,
    limits: Limits,
}

impl Connection {
    /// HTTP over a stream that the caller has connected, and has perhaps asked who
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
        Ok(Self { sender, driver, authority: address.authority(), limits })
    }

    pub(crate) async fn to(address: &Address, limits: Limits) -> Result<Self, ClientError> {
        let failed = |source| ClientError::Connect { address: address.to_string(), source };
        match address {
            Address::Tcp { host, port } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(failed)?;
                stream.set_nodelay(true).map_err(failed)?;
                Self::over(stream, address, limits).await
            }
            Address::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(failed)?;
                Self::over(stream, address, limits).await
            }
        }
    }

    /// Can another request be sent? It cannot once the server has closed the
    /// connection, or when a response was not read to its end.
    pub async fn is_open(&mut self) -> bool {
        self.sender.ready().await.is_ok()
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
        let message = request.into_http(&self.authority)?;
        let sent_at = std::time::Instant::now();
        let (head, body) = self.sender.send_request(message).await?.into_parts();
        Ok(Streaming::new(head, body, sent_at, self.limits.body))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}
