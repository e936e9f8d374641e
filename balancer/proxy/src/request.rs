//! One request of a client that speaks HTTP/1.

use std::fmt::Display;

use balancer_access_log::RequestSummary;
use balancer_http1::{Framing, HttpError, RequestHead};
use balancer_state::faults::Rejection;
use balancer_state::response::Response;

use crate::attempts;
use crate::client::Http1Client;
use crate::context::RequestContext;
use crate::exchange::Outcome;
use crate::fault::{self, Fault};
use crate::field::ProxyField;
use crate::headers;
use crate::listener::ListenerOptions;
use crate::pages;
use crate::proxy::Proxy;
use crate::responses::{self, WriteOptions};
use crate::upload::{self, Upload};
use crate::write_buffer::WriteBuffer;

/// What happens to the connection after a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AfterResponse {
    NextRequest,
    /// Everything has been sent and read.
    Close,
    /// The client may not have sent all of its request yet.
    Linger,
    /// Only an abrupt end tells the client that the response is not whole.
    Abort,
}

/// Who answers a request.
enum Answer {
    /// The balancer itself.
    Own(Response),
    /// A worker, which gets this head.
    Worker(WriteBuffer),
}

/// Handles the request whose head is the first `length` bytes of the read buffer.
pub(crate) async fn handle(
    proxy: &Proxy,
    client: &mut Http1Client,
    length: usize,
    options: &ListenerOptions,
) -> AfterResponse {
    let head = &client.read_buffer.bytes()[..length];
    let request = match RequestHead::parse(head, &mut client.fields) {
        Ok(request) => request,
        Err(error) => return refuse(proxy, client, error).await,
    };
    let mut context = RequestContext::new(proxy, head, &request, &client.identity);
    let answer = match own_response(proxy, &request, options) {
        Some(response) => Answer::Own(response),
        None if let Some(response) = proxy.maintenance_response(request.method, request.resource.path) => {
            context.fault = Some(Fault::Rejected(Rejection::Maintenance).name());
            proxy.counters.rejections.add(Rejection::Maintenance);
            Answer::Own(response)
        }
        None => {
            let mut buffer = WriteBuffer::default();
            headers::write_request(buffer.bytes(), &request, &context.id, &client.identity);
            Answer::Worker(buffer)
        }
    };
    let (framing, has_trailers) = (request.framing, headers::sends_trailers(&request));
    client.read_buffer.consume(length);
    match answer {
        Answer::Own(response) if framing == Framing::Empty => {
            respond(proxy, client, &mut context, &response).await
        }
        // The body is not read, so where the next request would begin cannot be known.
        Answer::Own(response) => respond_and_end(proxy, client, &mut context, &response).await,
        Answer::Worker(buffer) => {
            let mut upload = Upload::new(buffer, framing, has_trailers, context.is_idempotent, &proxy.limits);
            let outcome = attempts::run(proxy, &mut context, client, &mut upload).await;
            conclude(proxy, client, &mut context, &upload, outcome).await
        }
    }
}

/// Answers something that is no valid request, and ends the connection: where the next
/// request would begin cannot be known.
pub(crate) async fn refuse(proxy: &Proxy, client: &mut Http1Client, error: HttpError) -> AfterResponse {
    let mut context = RequestContext::refused(proxy, client.read_buffer.bytes(), &client.identity);
    respond_and_end(proxy, client, &mut context, &responses::for_http_error(error)).await
}

/// Answers a client that has as many connections as it may.
pub(crate) async fn refuse_connection(proxy: &Proxy, client: &mut Http1Client) -> AfterResponse {
    let mut context = RequestContext::refused(proxy, client.read_buffer.bytes(), &client.identity);
    let rejection = Rejection::MaxConnectionsPerIp;
    context.fault = Some(Fault::Rejected(rejection).name());
    let address = &client.identity.address;
    let reason = format!("{address} has as many connections as it may (--max-connections-per-ip)");
    reject(proxy, &context, rejection, &reason);
    respond_and_end(proxy, client, &mut context, &responses::for_http_error(TOO_MANY_CONNECTIONS)).await
}

const TOO_MANY_CONNECTIONS: HttpError = HttpError::new(
    503,
    "there are as many connections from this address as there may be; close one, or try again later",
);

/// The balancer's own response, to a request that is not for workers.
fn own_response(
    proxy: &Proxy,
    request: &RequestHead<'_, ProxyField>,
    options: &ListenerOptions,
) -> Option<Response> {
    if let Some(redirect) = &options.redirect {
        return Some(redirect.response(request));
    }
    let max_request_body = proxy.limits.max_request_body;
    if matches!(request.framing, Framing::Length(length) if length > max_request_body) {
        return Some(responses::for_http_error(upload::body_too_large(max_request_body)));
    }
    proxy.own_response(request.method, request.resource.path)
}

/// Ends a request that was handed to workers: answers the client if it has seen no
/// response, and counts and logs the request.
async fn conclude(
    proxy: &Proxy,
    client: &mut Http1Client,
    context: &mut RequestContext,
    upload: &Upload,
    outcome: Outcome,
) -> AfterResponse {
    let (status, sent, after) = match outcome {
        Outcome::Complete { status, sent, keep: true } => (status, sent, AfterResponse::NextRequest),
        Outcome::Complete { status, sent, keep: false } if upload.is_received() => {
            (status, sent, AfterResponse::Close)
        }
        Outcome::Complete { status, sent, keep: false } => (status, sent, AfterResponse::Linger),
        Outcome::Truncated { status, sent, error } => {
            let fault = fault::of_truncation(&error);
            context.fault = fault.map(|fault| Fault::Worker(fault).name());
            let status = if fault.is_some() { status } else { RequestSummary::CLIENT_CLOSED };
            (status, sent, AfterResponse::Abort)
        }
        Outcome::ClientClosed => (RequestSummary::CLIENT_CLOSED, 0, AfterResponse::Abort),
        Outcome::Failed(error) => {
            let fault = fault::of_failure(&error);
            context.fault = fault.map(Fault::name);
            if let Some(Fault::Rejected(rejection)) = fault {
                reject(proxy, context, rejection, &error);
            }
            let response = responses::for_proxy_error(&error, context.upstream.attempts);
            return respond_and_end(proxy, client, context, &response).await;
        }
        Outcome::Rejected(error) => {
            return respond_and_end(proxy, client, context, &responses::for_http_error(error)).await;
        }
    };
    context.finish(proxy, status, sent);
    after
}

/// Counts and says that the balancer rejects a request, for `reason`.
fn reject(proxy: &Proxy, context: &RequestContext, rejection: Rejection, reason: &dyn Display) {
    proxy.counters.rejections.add(rejection);
    proxy.fault_log.rejected(rejection, context.name(), reason);
}

/// Sends the balancer's own response to a request without a body.
async fn respond(
    proxy: &Proxy,
    client: &mut Http1Client,
    context: &mut RequestContext,
    response: &Response,
) -> AfterResponse {
    let keeps = context.keeps_alive && !proxy.registry.is_draining();
    let connection = context.connection_option(keeps);
    let is_sent = send(proxy, client, context, response, connection).await;
    if keeps && is_sent { AfterResponse::NextRequest } else { AfterResponse::Close }
}

/// Sends the balancer's own response, and ends the connection.
async fn respond_and_end(
    proxy: &Proxy,
    client: &mut Http1Client,
    context: &mut RequestContext,
    response: &Response,
) -> AfterResponse {
    let connection = context.connection_option(false);
    send(proxy, client, context, response, connection).await;
    AfterResponse::Linger
}

/// Sends `response`, and counts and logs the request. Says whether the client took it.
async fn send(
    proxy: &Proxy,
    client: &mut Http1Client,
    context: &mut RequestContext,
    response: &Response,
    connection: Option<&'static str>,
) -> bool {
    let is_maintenance = context.fault == Some(Rejection::Maintenance.name());
    let id = context.id.as_bytes();
    let page = pages::for_client(&proxy.error_pages, response, context.accepts_html, is_maintenance, id);
    let response = page.as_ref().unwrap_or(response);
    let options =
        WriteOptions { request_id: id, is_head: context.is_head, connection, hsts: client.hsts.as_deref() };
    responses::write(response, client.write_buffer.bytes(), options);
    let is_taken = client.flush(proxy.limits.client_timeout).await.is_ok();
    context.finish(proxy, response.status, response.body.len() as u64);
    is_taken
}
