//! HTTP/2 connections, each shared by several virtual users (RFC 9113), through `h2`.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;

use bytes::Bytes;
use h2::Reason;
use h2::client::SendRequest;
use tokio_rustls::rustls::HandshakeKind;

use super::connect::Connector;
use super::deadline::Deadline;
use super::failure::{ErrorClass, Failure};
use super::framing::{Head, MAX_CAPTURE, Tag};
use super::http1::Reply;
use crate::stats::Seen;

/// Bytes a stream, and a connection, may receive before an acknowledgement.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// One connection and those who share it. It is made anew when it has failed.
#[derive(Default)]
pub(super) struct Http2 {
    sender: RefCell<Option<SendRequest<Bytes>>>,
    /// Tells a connection from its successor: only who saw it fail drops it.
    generation: Cell<u64>,
    /// What the server gave as the reason for the end of the latest connection.
    ended: RefCell<Rc<RefCell<Option<Failure>>>>,
    connecting: tokio::sync::Mutex<()>,
    pub(super) seen: RefCell<Seen>,
}

/// A connection as one virtual user holds it for one request.
pub(super) struct Sender {
    sender: SendRequest<Bytes>,
    generation: u64,
}

impl Http2 {
    /// The shared connection; `made` is called when it had to be made.
    ///
    /// # Errors
    /// As [`Connector::connect`], or when the HTTP/2 preface is refused.
    pub(super) async fn sender(
        &self,
        connector: &Connector,
        made: impl FnOnce(Option<HandshakeKind>),
    ) -> Result<Sender, Failure> {
        if let Some(sender) = self.live() {
            return Ok(sender);
        }
        let _one_at_a_time = self.connecting.lock().await;
        if let Some(sender) = self.live() {
            return Ok(sender);
        }
        let stream = connector.connect().await?;
        let kind = stream.handshake();
        let (sender, connection) = h2::client::Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .handshake(stream)
            .await
            .map_err(|err| failure(&err))?;
        let ended = Rc::default();
        *self.ended.borrow_mut() = Rc::clone(&ended);
        // Its end shows in every exchange on it.
        tokio::task::spawn_local(async move {
            let end = connection.await;
            *ended.borrow_mut() = end.err().filter(h2::Error::is_go_away).map(|err| failure(&err));
        });
        made(kind);
        *self.sender.borrow_mut() = Some(sender.clone());
        *self.seen.borrow_mut() = Seen::default();
        self.generation.set(self.generation.get() + 1);
        Ok(Sender { sender, generation: self.generation.get() })
    }

    /// A stream that ends with its connection does not know why; the connection does.
    pub(super) fn explain(&self, failure: Failure) -> Failure {
        let ended = self.ended.borrow();
        let why = ended.borrow().clone().filter(|_| failure.class == ErrorClass::EarlyClose);
        why.map_or(failure, |why| Failure { is_unprocessed: false, ..why })
    }

    fn live(&self) -> Option<Sender> {
        let sender = self.sender.borrow().clone()?;
        Some(Sender { sender, generation: self.generation.get() })
    }

    /// Gives up the connection of `generation`, unless it has a successor.
    pub(super) fn drop_connection(&self, generation: u64) {
        if self.generation.get() == generation {
            self.sender.borrow_mut().take();
        }
    }
}

impl Sender {
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Sends one request and reads its response to the end.
    ///
    /// # Errors
    /// In the class of what went wrong; a timeout when `deadline` passes.
    pub(super) async fn exchange(
        self,
        request: http::Request<()>,
        body: Bytes,
        deadline: &mut Deadline,
        capture: Option<&mut Vec<u8>>,
    ) -> Result<Reply, Failure> {
        tokio::select! {
            result = exchange(self.sender, request, body, capture) => result,
            () = poll_fn(|cx| deadline.poll(cx)) => {
                Err(Failure::new(ErrorClass::Timeout, "no complete response in time"))
            }
        }
    }
}

async fn exchange(
    sender: SendRequest<Bytes>,
    request: http::Request<()>,
    body: Bytes,
    mut capture: Option<&mut Vec<u8>>,
) -> Result<Reply, Failure> {
    // Until here, nothing has been sent.
    let mut sender = sender.ready().await.map_err(|err| failure(&err).unprocessed())?;
    let (response, mut upload) =
        sender.send_request(request, body.is_empty()).map_err(|err| failure(&err).unprocessed())?;
    if !body.is_empty() {
        upload.send_data(body, true).map_err(|err| failure(&err))?;
    }
    let (parts, mut data) = response.await.map_err(|err| failure(&err))?.into_parts();
    let mut bytes = 0;
    while let Some(chunk) = data.data().await {
        let chunk = chunk.map_err(|err| failure(&err))?;
        bytes += chunk.len() as u64;
        data.flow_control().release_capacity(chunk.len()).map_err(|err| failure(&err))?;
        if let Some(kept) = capture.as_deref_mut() {
            kept.extend_from_slice(&chunk[..chunk.len().min(MAX_CAPTURE - kept.len())]);
        }
    }
    let worker = parts.headers.get(shared_protocol::WORKER_ID_HEADER);
    let worker = worker.map_or_else(Tag::default, |value| Tag::new(value.as_bytes()));
    let head = Head { status: parts.status.as_u16(), worker, keep_alive: true };
    Ok(Reply { head, bytes, surplus: 0 })
}

/// What an error means, with the name of its code (RFC 9113, section 7).
fn failure(err: &h2::Error) -> Failure {
    if let Some(io) = err.get_io() {
        return Failure::exchanging(io);
    }
    let code = err.reason().map_or_else(|| err.to_string(), name);
    // A peer that does not speak HTTP/2 shows as an error of our own side.
    if !err.is_remote() {
        return Failure::new(ErrorClass::Malformed, format!("what came is not HTTP/2: {code}"));
    }
    // What the server has not looked at may be sent again: streams above the last one of
    // a graceful GOAWAY (section 6.8), and refused ones (section 8.7).
    if err.is_go_away() {
        let failure = Failure::new(ErrorClass::GoAway, format!("the server sent GOAWAY with {code}"));
        return if err.reason() == Some(Reason::NO_ERROR) { failure.unprocessed() } else { failure };
    }
    let failure = Failure::new(ErrorClass::StreamReset, format!("the server sent RST_STREAM with {code}"));
    if err.reason() == Some(Reason::REFUSED_STREAM) { failure.unprocessed() } else { failure }
}

fn name(reason: Reason) -> String {
    format!("{reason:?} ({:#x})", u32::from(reason))
}
