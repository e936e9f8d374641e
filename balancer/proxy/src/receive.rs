//! The part of a request before there is a worker: its body is received into memory, so
//! that a client on a slow line does not occupy a worker.

use std::future::poll_fn;
use std::task::Poll;

use crate::client::Http1Client;
use crate::context::RequestContext;
use crate::exchange::Outcome;
use crate::proxy::Proxy;
use crate::upload::{SLOW_BODY, Upload};

/// Receives the request's body until it is whole or its buffer is full.
///
/// # Errors
/// When the client sends no valid body, is too slow, or leaves: no worker hears of it.
pub(crate) async fn receive(
    proxy: &Proxy,
    context: &RequestContext,
    client: &mut Http1Client,
    upload: &mut Upload,
) -> Result<(), Outcome> {
    let limits = &proxy.limits;
    let limit = usize::try_from(limits.buffer_requests).unwrap_or(usize::MAX);
    // What is to be judged by its head, or may be a conversation, goes to a worker at once.
    if upload.is_received() || limit == 0 || context.expects_continue || context.upgrades {
        return Ok(());
    }
    poll_fn(|cx| {
        if let Poll::Ready(result) = upload.poll_receive(client, &proxy.buffer_memory, limit, cx) {
            return Poll::Ready(result.map_err(Outcome::from));
        }
        match upload.deadline(limits) {
            Some(deadline) if client.timer.poll(deadline, cx) => {
                Poll::Ready(Err(Outcome::Rejected(SLOW_BODY)))
            }
            _ => Poll::Pending,
        }
    })
    .await
}
