//! After an upgrade: bytes both ways, whatever they mean, for as long as both ends want
//! (RFC 9110, section 7.8).

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::client::Http1Client;
use crate::read_buffer::ReadBuffer;
use crate::stall::Stall;
use crate::upstream::Upstream;
use crate::write_buffer::poll_write;

/// Why a tunnel ended before both ends had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TunnelError {
    #[error("could not read: {0}")]
    Read(io::Error),
    #[error("could not write: {0}")]
    Write(io::Error),
    /// One end had ended, and the other one moved nothing for the client timeout.
    #[error("the second end did not end in time")]
    Timeout,
    /// The worker is to end, and it was this tunnel's turn.
    #[error("the worker is to end")]
    Drained,
}

/// One direction.
#[derive(Default)]
struct Direction {
    /// Bytes so far.
    carried: u64,
    /// The sender sends no more.
    has_ended: bool,
    /// The receiver knows that.
    is_shut: bool,
}

impl Direction {
    /// Ready when all has been passed on, the end included.
    fn poll(
        &mut self,
        (from, buffer): (&mut (impl AsyncRead + Unpin), &mut ReadBuffer),
        to: &mut (impl AsyncWrite + Unpin),
        stall: &mut Stall,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), TunnelError>> {
        while !self.is_shut {
            if !buffer.is_empty() {
                let written = ready!(poll_write(to, buffer.bytes(), cx)).map_err(TunnelError::Write)?;
                buffer.consume(written);
                self.carried += written as u64;
                stall.touch();
            } else if self.has_ended {
                ready!(Pin::new(&mut *to).poll_shutdown(cx)).map_err(TunnelError::Write)?;
                self.is_shut = true;
            } else {
                self.has_ended = ready!(buffer.poll_fill(from, cx)).map_err(TunnelError::Read)? == 0;
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Carries bytes until both sides have ended, or one of them breaks. Returns how many
/// the client got. There is no timeout while both are there: a silent WebSocket is a
/// healthy one. Once one side has ended, the other one may be silent for
/// `closing_timeout`. It ends at once when `is_to_close` says so.
pub(crate) async fn run(
    client: &mut Http1Client,
    upstream: &mut Upstream,
    closing_timeout: Duration,
    mut is_to_close: impl FnMut(&mut Context<'_>) -> bool,
) -> (u64, Result<(), TunnelError>) {
    let mut up = Direction { has_ended: client.has_ended, ..Direction::default() };
    let (mut down, mut stall) = (Direction::default(), Stall::default());
    let result = poll_fn(|cx| {
        let sent_up =
            up.poll((&mut client.stream, &mut client.read_buffer), &mut upstream.stream, &mut stall, cx)?;
        let sent_down =
            down.poll((&mut upstream.stream, &mut upstream.read_buffer), &mut client.stream, &mut stall, cx)?;
        if is_to_close(cx) {
            return Poll::Ready(Err(TunnelError::Drained));
        }
        match (sent_up, sent_down) {
            (Poll::Ready(()), Poll::Ready(())) => Poll::Ready(Ok(())),
            (Poll::Pending, Poll::Pending) => Poll::Pending,
            _ if client.timer.poll(stall.deadline(closing_timeout), cx) => {
                Poll::Ready(Err(TunnelError::Timeout))
            }
            _ => Poll::Pending,
        }
    })
    .await;
    (down.carried, result)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes no bytes, and says so without an error.
    struct Full;

    impl AsyncWrite for Full {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(0))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn a_stream_that_takes_nothing_ends_the_tunnel() {
        let (mut direction, mut stall) = (Direction::default(), Stall::default());
        let (mut from, mut buffer) = (b"bytes".as_slice(), ReadBuffer::default());
        let result = poll_fn(|cx| direction.poll((&mut from, &mut buffer), &mut Full, &mut stall, cx)).await;
        assert!(matches!(&result, Err(TunnelError::Write(err)) if err.kind() == io::ErrorKind::WriteZero));
    }

    #[tokio::test]
    async fn all_bytes_and_the_end_are_passed_on() {
        let (mut direction, mut stall) = (Direction::default(), Stall::default());
        let (mut from, mut buffer, mut to) = (b"bytes".as_slice(), ReadBuffer::default(), Vec::new());
        poll_fn(|cx| direction.poll((&mut from, &mut buffer), &mut to, &mut stall, cx)).await.unwrap();
        assert_eq!((to.as_slice(), direction.carried), (b"bytes".as_slice(), 5));
    }
}
