//! The byte stream.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use balancer_http1::chunked;
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::request::RequestKind;
use super::response::{self, Head};
use super::trailers;

/// One request and its response.
pub(crate) struct Http2Stream {
    /// What is read before the next part of the body: the head, or the size of a chunk.
    before: Vec<u8>,
    /// How much of it has been read.
    read: usize,
    data: Bytes,
    /// What is read behind `data`.
    after: Bytes,
    body: RecvStream,
    kind: RequestKind,
    is_head: bool,
    /// The client sends no more.
    has_ended: bool,
    /// Taken for the final head.
    responder: Option<SendResponse<Bytes>>,
    /// There once the final head has been sent. Behind the end, it is still watched for the
    /// client's reset.
    sender: Option<SendStream<Bytes>>,
    /// Bytes of the response's body that are still to come, if that is known.
    left: Option<u64>,
    /// What follows the response's body.
    trailers: Option<HeaderMap>,
    /// All of the response has been sent.
    is_sent: bool,
    was_reset: bool,
}

impl Http2Stream {
    /// `head` is the request's head as HTTP/1.1; `is_head` when its method is HEAD.
    pub(crate) fn new(
        head: Vec<u8>,
        kind: RequestKind,
        is_head: bool,
        body: RecvStream,
        responder: SendResponse<Bytes>,
    ) -> Self {
        Self {
            before: head,
            read: 0,
            data: Bytes::new(),
            after: Bytes::new(),
            body,
            kind,
            is_head,
            has_ended: kind == RequestKind::Empty,
            responder: Some(responder),
            sender: None,
            left: None,
            trailers: None,
            is_sent: false,
            was_reset: false,
        }
    }

    /// The stream of a request that is refused for its head. Nothing of it is read.
    pub(crate) fn refused(is_head: bool, body: RecvStream, responder: SendResponse<Bytes>) -> Self {
        Self::new(Vec::new(), RequestKind::Empty, is_head, body, responder)
    }

    /// Has the client given up the request, or made it fail?
    pub(crate) fn was_reset(&self) -> bool {
        self.was_reset
    }

    /// The response is complete: ends it, if its own length has not done so.
    pub(crate) fn finish(&mut self) {
        match &mut self.sender {
            // In vain when the client has reset it meanwhile.
            Some(sender) if !self.is_sent => {
                _ = match self.trailers.take() {
                    None => sender.send_data(Bytes::new(), true),
                    Some(trailers) => sender.send_trailers(trailers),
                };
            }
            Some(_) => {}
            None => self.abort(),
        }
        self.is_sent = true;
    }

    /// `lines` of HTTP/1.1 follow the response's body.
    pub(crate) fn set_trailers(&mut self, lines: &[u8]) {
        self.trailers = trailers::read(lines);
    }

    /// The response is not complete, and does not go on.
    pub(crate) fn abort(&mut self) {
        if let Some(sender) = &mut self.sender {
            sender.send_reset(Reason::INTERNAL_ERROR);
        } else if let Some(responder) = &mut self.responder {
            responder.send_reset(Reason::INTERNAL_ERROR);
        }
    }

    /// Moves what is there into `room`.
    fn take(&mut self, room: &mut ReadBuf<'_>) {
        let count = (self.before.len() - self.read).min(room.remaining());
        room.put_slice(&self.before[self.read..self.read + count]);
        self.read += count;
        let count = self.data.len().min(room.remaining());
        if count > 0 {
            room.put_slice(&self.data.split_to(count));
            // The client may send as much again. In vain when the stream has been reset.
            let _ = self.body.flow_control().release_capacity(count);
        }
        if self.data.is_empty() {
            let count = self.after.len().min(room.remaining());
            room.put_slice(&self.after.split_to(count));
        }
    }

    /// Waits for the next part of the body, and frames it. Ready with `false` when there is
    /// none.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let is_chunked = self.kind == RequestKind::Chunked;
        while !self.has_ended {
            let part = ready!(self.body.poll_data(cx)).transpose().map_err(|error| self.reset(error))?;
            (self.read, self.before) = (0, Vec::new());
            match part {
                Some(data) if data.is_empty() => continue,
                Some(data) if is_chunked => {
                    self.before = format!("{:x}\r\n", data.len()).into_bytes();
                    (self.data, self.after) = (data, Bytes::from_static(b"\r\n"));
                }
                Some(data) => self.data = data,
                // HTTP/1.1 has no place for trailers behind a body with a length.
                None if !is_chunked => self.has_ended = true,
                None => {
                    let trailers = ready!(self.body.poll_trailers(cx)).map_err(|error| self.reset(error))?;
                    self.has_ended = true;
                    self.after = trailers.map_or(Bytes::from_static(chunked::LAST), trailers::write);
                }
            }
            return Poll::Ready(Ok(true));
        }
        Poll::Ready(Ok(false))
    }

    /// Ready when the client has reset the stream, or the connection is broken.
    fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let polled = match (&mut self.sender, &mut self.responder) {
            (Some(sender), _) => sender.poll_reset(cx),
            (None, Some(responder)) => responder.poll_reset(cx),
            (None, None) => Poll::Pending,
        };
        match ready!(polled) {
            Ok(reason) => {
                self.was_reset = true;
                Poll::Ready(io::Error::new(io::ErrorKind::ConnectionReset, h2::Error::from(reason)))
            }
            Err(error) => Poll::Ready(self.reset(error)),
        }
    }

    fn reset(&mut self, error: h2::Error) -> io::Error {
        self.was_reset |= error.is_reset();
        io::Error::new(io::ErrorKind::ConnectionReset, error)
    }

    /// Sends the head at the beginning of `bytes`, and returns its length.
    fn send_head(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let responder = self.responder.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut head = response::read_head(bytes).ok_or(io::ErrorKind::InvalidData)?;
        if self.kind == RequestKind::Tunnel {
            response::accept_tunnel(&mut head);
        }
        let Head { message, length, content_length } = head;
        let status = message.status();
        if status.is_informational() {
            responder.send_informational(message).map_err(broken)?;
            return Ok(length);
        }
        self.is_sent = self.is_head
            || status == StatusCode::NO_CONTENT
            || status == StatusCode::NOT_MODIFIED
            || content_length == Some(0);
        self.left = content_length;
        self.sender = Some(responder.send_response(message, self.is_sent).map_err(broken)?);
        self.responder = None;
        Ok(length)
    }

    /// Sends as much of `bytes` as the client takes at the moment. What is sent does not
    /// wait for the client here but for its socket: `h2` holds no more than its send buffer.
    fn poll_send(&mut self, bytes: &[u8], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(sender) = self.sender.as_mut().filter(|_| !self.is_sent) else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        sender.reserve_capacity(bytes.len());
        while sender.capacity() == 0 {
            match ready!(sender.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(self.reset(error))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        let count = bytes.len().min(sender.capacity());
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(count as u64);
            self.is_sent = *left == 0;
        }
        sender.send_data(Bytes::copy_from_slice(&bytes[..count]), self.is_sent).map_err(broken)?;
        Poll::Ready(Ok(count))
    }
}

impl AsyncRead for Http2Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = room.filled().len();
        loop {
            this.take(room);
            if room.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
            if !ready!(this.poll_body(cx))? {
                break;
            }
        }
        // Behind a request comes nothing: its stream stays open for the response, until the
        // client resets it. A tunnel ends each way by itself.
        if this.kind == RequestKind::Tunnel && this.sender.is_some() {
            return Poll::Ready(Ok(()));
        }
        this.poll_reset(cx).map(Err)
    }
}

impl AsyncWrite for Http2Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.sender.is_some() {
            return this.poll_send(bytes, cx);
        }
        let length = this.send_head(bytes)?;
        let rest = &bytes[length..];
        if rest.is_empty() || this.is_sent || this.sender.is_none() {
            return Poll::Ready(Ok(length));
        }
        // A short body leaves with its head.
        match this.poll_send(rest, cx)? {
            Poll::Ready(count) => Poll::Ready(Ok(length + count)),
            Poll::Pending => Poll::Ready(Ok(length)),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().finish();
        Poll::Ready(Ok(()))
    }
}

/// The stream takes no more.
fn broken(error: h2::Error) -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, error)
}
