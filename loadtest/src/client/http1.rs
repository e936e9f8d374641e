//! One HTTP/1 connection and the exchange of one request on it.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::rustls::HandshakeKind;

use super::deadline::Deadline;
use super::failure::{ErrorClass, Failure};
use super::framing::{Decoder, Head, MAX_HEAD};
use super::stream::Stream;

/// Bytes read at once; a longer head makes the buffer grow up to [`MAX_HEAD`].
const BUFFER: usize = 16 * 1024;

/// A complete response.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reply {
    pub(super) head: Head,
    /// Bytes received for it, head included.
    pub(super) bytes: u64,
    /// Bytes that came with it beyond its declared end.
    pub(super) surplus: usize,
}

/// A connection that carries one request at a time.
pub(super) struct Http1 {
    stream: Stream,
    buffer: Vec<u8>,
    /// It has carried a response before: the server may have closed it meanwhile.
    is_used: bool,
    /// What has been read and not been used: `buffer[start..end]`.
    start: usize,
    end: usize,
}

/// Where an exchange stands.
struct Exchange<'a> {
    wire: &'a [u8],
    sent: usize,
    flushed: bool,
    write_error: Option<io::Error>,
    decoder: Decoder,
    bytes: u64,
}

impl Http1 {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, buffer: vec![0; BUFFER], is_used: false, start: 0, end: 0 }
    }

    /// Nothing has arrived since the last response, not even the end: the
    /// connection may carry another request. Costs no system call when idle.
    pub(super) async fn is_reusable(&mut self) -> bool {
        let (stream, buffer) = (&mut self.stream, &mut self.buffer);
        poll_fn(|cx| {
            let mut probe = ReadBuf::new(buffer);
            Poll::Ready(Pin::new(&mut *stream).poll_read(cx, &mut probe).is_pending())
        })
        .await
    }

    /// Sends `wire` and reads the response to its end. After an error the
    /// connection is of no further use.
    ///
    /// # Errors
    /// In the class of what went wrong; a timeout when `deadline` passes.
    pub(super) async fn exchange(
        &mut self,
        wire: &[u8],
        head_request: bool,
        deadline: &mut Deadline,
        mut capture: Option<&mut Vec<u8>>,
    ) -> Result<Reply, Failure> {
        let mut exchange = Exchange {
            wire,
            sent: 0,
            flushed: false,
            write_error: None,
            decoder: Decoder::new(head_request),
            bytes: 0,
        };
        let result = poll_fn(|cx| {
            self.poll_send(cx, &mut exchange);
            match self.poll_receive(cx, &mut exchange, capture.as_deref_mut()) {
                Poll::Ready(result) => Poll::Ready(result.map(Some)),
                Poll::Pending => deadline.poll(cx).map(|()| Ok(None)),
            }
        })
        .await;
        match result {
            Ok(Some(reply)) => {
                self.is_used = true;
                Ok(reply)
            }
            Ok(None) => {
                let what = exchange.missing("no complete response in time");
                Err(Failure::new(ErrorClass::Timeout, what))
            }
            Err(failure) => Err(self.judge(failure, &exchange).await),
        }
    }

    /// Did the server close the connection without having read the request? It did when
    /// the request could not even be written, and when the system answered it with a
    /// reset. A server that has read it, and died of it, ends the connection in order.
    async fn judge(&self, failure: Failure, exchange: &Exchange<'_>) -> Failure {
        if !self.is_used || exchange.bytes > 0 {
            return failure;
        }
        let is_unprocessed = match failure.class {
            ErrorClass::Reset => true,
            ErrorClass::EarlyClose if exchange.write_error.is_some() => exchange.sent == 0,
            ErrorClass::EarlyClose => self.stream.was_reset().await,
            _ => false,
        };
        if is_unprocessed { failure.unprocessed() } else { failure }
    }

    /// How the TLS handshake went; `None` without TLS.
    pub(super) fn handshake(&self) -> Option<HandshakeKind> {
        self.stream.handshake()
    }

    /// Sends what can be sent. A failure is kept until reading fails as well:
    /// the server may have answered before it stopped listening.
    fn poll_send(&mut self, cx: &mut Context<'_>, exchange: &mut Exchange<'_>) {
        while exchange.sent < exchange.wire.len() && exchange.write_error.is_none() {
            match Pin::new(&mut self.stream).poll_write(cx, &exchange.wire[exchange.sent..]) {
                Poll::Ready(Ok(0)) => exchange.write_error = Some(io::ErrorKind::BrokenPipe.into()),
                Poll::Ready(Ok(sent)) => exchange.sent += sent,
                Poll::Ready(Err(err)) => exchange.write_error = Some(err),
                Poll::Pending => return,
            }
        }
        if !exchange.flushed && exchange.write_error.is_none() {
            match Pin::new(&mut self.stream).poll_flush(cx) {
                Poll::Ready(Ok(())) => exchange.flushed = true,
                Poll::Ready(Err(err)) => exchange.write_error = Some(err),
                Poll::Pending => {}
            }
        }
    }

    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &mut Exchange<'_>,
        mut capture: Option<&mut Vec<u8>>,
    ) -> Poll<Result<Reply, Failure>> {
        loop {
            self.make_room();
            let mut space = ReadBuf::new(&mut self.buffer[self.end..]);
            match Pin::new(&mut self.stream).poll_read(cx, &mut space) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(err)) => return Poll::Ready(exchange.on_error(&err)),
                Poll::Ready(Ok(())) => {}
            }
            let received = space.filled().len();
            if received == 0 {
                return Poll::Ready(exchange.on_close());
            }
            self.end += received;
            exchange.bytes += received as u64;
            let taken = exchange
                .decoder
                .feed(&self.buffer[self.start..self.end], capture.as_deref_mut())
                .map_err(|err| Failure::new(ErrorClass::Malformed, err.to_string()))?;
            self.start += taken;
            if exchange.decoder.is_done() {
                let surplus = self.end - self.start;
                (self.start, self.end) = (0, 0);
                return Poll::Ready(exchange.reply(surplus));
            }
        }
    }

    fn make_room(&mut self) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start.., 0);
            self.end -= self.start;
            self.start = 0;
            // Only an unfinished head (or chunk line) is ever left over, and
            // the decoder refuses one that reaches the limit.
            if self.end == self.buffer.len() {
                self.buffer.resize((self.buffer.len() * 2).min(2 * MAX_HEAD), 0);
            }
        }
    }
}

impl Exchange<'_> {
    fn reply(&self, surplus: usize) -> Result<Reply, Failure> {
        let mut head = self.decoder.head().expect("a decoder that is done has its head");
        // A response that overtook its request leaves the rest of it unsent.
        head.keep_alive &= self.sent == self.wire.len();
        Ok(Reply { head, bytes: self.bytes, surplus })
    }

    fn on_close(&self) -> Result<Reply, Failure> {
        if self.decoder.ends_with_close() {
            return self.reply(0);
        }
        match &self.write_error {
            Some(err) => Err(Failure::exchanging(err)),
            None => Err(Failure::new(ErrorClass::EarlyClose, self.missing("the connection was closed"))),
        }
    }

    fn on_error(&self, err: &io::Error) -> Result<Reply, Failure> {
        // rustls reports a close without its goodbye as an unexpected end.
        if err.kind() == io::ErrorKind::UnexpectedEof {
            return self.on_close();
        }
        let failure = Failure::exchanging(err);
        Err(Failure { detail: self.missing(&failure.detail), ..failure })
    }

    fn missing(&self, what: &str) -> String {
        match (self.bytes, self.decoder.head()) {
            (0, _) => format!("{what} before a response began"),
            (bytes, None) => format!("{what} inside the response head (after {bytes} bytes)"),
            (bytes, Some(_)) => format!("{what} inside the response body (after {bytes} bytes)"),
        }
    }
}
