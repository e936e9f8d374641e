//! A small HTTP server for operators: few connections, none on the path of
//! clients' requests.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Request, StatusCode};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_io_timeout::TimeoutStream;
use tracing::{debug, warn};

use balancer_state::response::Response;

/// How a change's steps are sent, and lines of workers: one JSON object per line.
pub(crate) const LINES: &str = "application/x-ndjson";

/// Connections at the same time; further ones wait.
const CONNECTIONS: usize = 256;
/// For a client to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Wait after a failed accept, which means that descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// For a client to take the next part of an answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// Answers requests.
pub trait Handler: Clone + Send + 'static {
    fn answer<B: Body<Data = Bytes> + Send + 'static>(
        self,
        request: Request<B>,
    ) -> impl Future<Output = Reply> + Send
    where
        B::Error: std::error::Error + Send + Sync;
}

/// A response, with a body that is known or one that comes in parts.
#[derive(Debug)]
pub struct Reply(http::Response<Content>);

#[derive(Debug)]
pub enum Content {
    Whole(Option<Bytes>),
    Parts(mpsc::Receiver<Bytes>),
}

impl From<Response> for Reply {
    fn from(answer: Response) -> Self {
        let mut reply = Self::new(answer.status, answer.content_type, Content::Whole(Some(answer.body)));
        for (name, value) in answer.extra {
            if let Ok(value) = HeaderValue::from_str(&value) {
                reply.0.headers_mut().insert(HeaderName::from_static(name), value);
            }
        }
        reply
    }
}

impl Reply {
    fn new(status: u16, content_type: &'static str, content: Content) -> Self {
        let mut response = http::Response::new(content);
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
        headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
        Self(response)
    }

    pub fn status(&self) -> u16 {
        self.0.status().as_u16()
    }

    /// A body that lasts as long as `parts` does.
    pub fn stream(content_type: &'static str, parts: mpsc::Receiver<Bytes>) -> Self {
        Self::new(200, content_type, Content::Parts(parts))
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = match self.get_mut() {
            Self::Whole(body) => Poll::Ready(body.take()),
            Self::Parts(parts) => parts.poll_recv(context),
        };
        next.map(|part| part.map(|part| Ok(Frame::data(part))))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => SizeHint::with_exact(body.as_ref().map_or(0, |body| body.len() as u64)),
            Self::Parts(_) => SizeHint::default(),
        }
    }
}

/// A source of connections, such as a listener.
pub trait Acceptor: Send + Sync {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next one, unless it is turned down.
    fn accept(&self) -> impl Future<Output = io::Result<Option<Self::Stream>>> + Send;
}

impl Acceptor for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<Option<TcpStream>> {
        Self::accept(self).await.map(|(stream, _)| Some(stream))
    }
}

/// Serves connections as they come in.
#[derive(Debug)]
pub struct Server {
    room: Arc<Semaphore>,
}

impl Default for Server {
    fn default() -> Self {
        Self { room: Arc::new(Semaphore::new(CONNECTIONS)) }
    }
}

impl Server {
    /// Takes the connections that `acceptor` gives, for ever; `what` is said when
    /// that fails.
    pub async fn run<H: Handler + Sync>(&self, what: &str, acceptor: impl Acceptor, handler: H) {
        loop {
            let permit =
                Arc::clone(&self.room).acquire_owned().await.expect("this semaphore is never closed");
            match acceptor.accept().await {
                Ok(Some(stream)) => Self::spawn(stream, permit, handler.clone()),
                Ok(None) => {}
                Err(err) => {
                    warn!(%err, "cannot accept on the {what}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Serves one connection in a task of its own.
    fn spawn<S, H>(stream: S, permit: OwnedSemaphorePermit, handler: H)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        H: Handler + Sync,
    {
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(WRITE_TIMEOUT));
        let stream = Box::pin(stream);
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let handler = handler.clone();
                async move { Ok::<_, Infallible>(handler.answer(request).await.0) }
            });
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .half_close(true)
                .title_case_headers(true)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(err) = served {
                debug!(%err, "an operator's connection ended");
            }
            drop(permit);
        });
    }
}
