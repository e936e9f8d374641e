//! What follows the head of a worker's response. A plain function without I/O.

use balancer_http1::{Framing, HttpError, ResponseHead};

use crate::context::RequestContext;
use crate::field::ProxyField;

/// What follows a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Another head follows. The client gets this one only if it is `wanted`.
    Interim {
        wanted: bool,
    },
    /// The worker has agreed to speak another protocol.
    Tunnel,
    Body(BodyPlan),
}

/// How the body of a final response is passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BodyPlan {
    pub(crate) status: u16,
    /// The worker's framing.
    pub(crate) from: Framing,
    /// The client's framing.
    pub(crate) to: Framing,
    /// The client's connection may be kept.
    pub(crate) keeps_client: bool,
    /// The worker's connection may be kept, as far as the worker says.
    pub(crate) keeps_upstream: bool,
}

/// The state of the exchange when the head has come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ExchangeState {
    /// The client has sent its whole request.
    pub(crate) is_received: bool,
    /// The client was told to send its body (100).
    pub(crate) has_continued: bool,
    /// The cluster is shutting down.
    pub(crate) is_draining: bool,
}

/// Decides what follows `response`.
///
/// # Errors
/// For a response that does not answer the request.
pub(crate) fn plan(
    response: &ResponseHead<'_, ProxyField>,
    context: &RequestContext,
    state: ExchangeState,
) -> Result<Plan, HttpError> {
    match response.status {
        101 if context.upgrades => Ok(Plan::Tunnel),
        101 => Err(HttpError::bad("an upgrade that the client did not ask for")),
        // One 100 is enough, also when a second worker says it again. HTTP/1.0 has no
        // interim responses (RFC 9110, section 15.2).
        100 => {
            Ok(Plan::Interim { wanted: context.is_1_1 && context.expects_continue && !state.has_continued })
        }
        102..=199 => Ok(Plan::Interim { wanted: context.is_1_1 }),
        status => Ok(Plan::Body(body(response, status, context, state))),
    }
}

fn body(
    response: &ResponseHead<'_, ProxyField>,
    status: u16,
    context: &RequestContext,
    state: ExchangeState,
) -> BodyPlan {
    let to = match (response.framing, context.is_1_1) {
        (Framing::UntilClose, true) => Framing::Chunked,
        (Framing::Chunked, false) => Framing::UntilClose,
        (framing, _) => framing,
    };
    // Where a request ends whose body still comes cannot be known.
    let keeps_client =
        context.keeps_alive && state.is_received && to != Framing::UntilClose && !state.is_draining;
    BodyPlan { status, from: response.framing, to, keeps_client, keeps_upstream: response.keeps_alive() }
}
