//! After an upgrade: bytes both ways, whatever they mean, for as long as both
//! ends want (RFC 9110, section 7.8).

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pingora::protocols::Stream;
use tokio::io::AsyncWrite;
use tokio::time::Instant;

use super::ProxyLimits;
use super::buffer::Inbox;
use super::client::Client;
use super::upstream::Upstream;

/// One direction.
#[derive(Default)]
struct Way {
    carried: u64,
    has_ended: bool,
    is_shut: bool,
}

impl Way {
    /// Ready when all has been passed on, the end included; an error ends both.
    fn poll(
        &mut self,
        from: &mut Stream,
        inbox: &mut Inbox,
        to: &mut Stream,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), ()>> {
        while !self.is_shut {
            if !inbox.is_empty() {
                let written = ready!(Pin::new(&mut *to).poll_write(cx, inbox.bytes())).map_err(drop)?;
                inbox.consume(written);
                self.carried += written as u64;
            } else if self.has_ended {
                ready!(Pin::new(&mut *to).poll_shutdown(cx)).map_err(drop)?;
                self.is_shut = true;
            } else {
                self.has_ended = ready!(inbox.poll_fill(from, cx)).map_err(drop)? == 0;
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Carries bytes until both sides have ended, or one of them breaks. Returns how
/// many went to the worker and to the client. There is no timeout while both
/// are there: a silent WebSocket is a healthy one.
pub(super) async fn run(client: &mut Client, upstream: &mut Upstream, limits: &ProxyLimits) -> (u64, u64) {
    let (mut up, mut down) = (Way { has_ended: client.has_ended, ..Way::default() }, Way::default());
    let mut quiet_since = None;
    poll_fn(|cx| {
        let before = up.carried + down.carried;
        let up_done = up.poll(&mut client.io, &mut client.inbox, &mut upstream.io, cx);
        let down_done = down.poll(&mut upstream.io, &mut upstream.inbox, &mut client.io, cx);
        match (up_done, down_done) {
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(()),
            (Poll::Ready(Err(())), _) | (_, Poll::Ready(Err(()))) => Poll::Ready(()),
            (Poll::Pending, Poll::Pending) => Poll::Pending,
            // One has said good-bye; the other one gets some time to do so.
            _ => {
                if up.carried + down.carried > before {
                    quiet_since = None;
                }
                let deadline = *quiet_since.get_or_insert_with(Instant::now) + limits.client_timeout;
                if client.timer.poll(deadline, cx) { Poll::Ready(()) } else { Poll::Pending }
            }
        }
    })
    .await;
    (up.carried, down.carried)
}
