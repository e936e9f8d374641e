//! A client's connection from its first request to its end.

use std::net::IpAddr;
use std::sync::Arc;

use balancer_http1::HttpError;

use crate::client::{ClientStream, Http1Client, NextHead};
use crate::forwarded::ClientIdentity;
use crate::handshake::{self, Opened};
use crate::http2;
use crate::ip_limit::Decision;
use crate::limits::Http2;
use crate::listener::{AcceptedSocket, ListenerOptions};
use crate::proxy::Proxy;
use crate::proxy_protocol;
use crate::request::{self, AfterResponse};

/// Serves requests until the connection ends.
pub(crate) async fn serve(proxy: &Arc<Proxy>, socket: AcceptedSocket, options: &Arc<ListenerOptions>) {
    let named = match &options.proxy_protocol {
        None => None,
        Some(sources) => {
            let notes = (&*proxy.counters, &proxy.refusal_log);
            let head_timeout = proxy.limits.head_timeout;
            // Boxed, so that only these connections have memory for it.
            match Box::pin(proxy_protocol::take_header(&socket, sources, head_timeout, notes)).await {
                Some(named) => named,
                None => return,
            }
        }
    };
    let address = named.or_else(|| socket.peer());
    // Whom a header names is a client, and no proxy of ours.
    let trusts_peers = options.trusts_peers && named.is_none();
    let mut identity = identity(address, proxy.limits.trust_forwarded || trusts_peers);
    // Handshakes are work: who has as many connections as it may gets no further one.
    let (is_refused, _permit) = match proxy.ip_limit.enter(address, &proxy.counters.connections_refused) {
        Decision::Admitted(permit) => (false, permit),
        Decision::Refused(permit) => (true, permit),
        Decision::Closed => return,
    };
    let stream = match &options.tls {
        None => ClientStream::from(socket),
        // Boxed, so that only these connections have memory for it.
        Some(tls) => match Box::pin(handshake::accept(proxy, tls, socket)).await {
            Opened::Session(stream) => stream,
            Opened::PlainHttp(stream) => return refuse_plain_http(proxy, stream, identity).await,
            Opened::Failed => return,
        },
    };
    identity.is_tls = stream.is_tls();
    let mut client = Http1Client::new(stream, identity, proxy.limits.half_close);
    client.hsts.clone_from(&options.hsts);
    if is_refused {
        if client.stream.has_chosen_http2() {
            return Box::pin(http2::refuse(proxy, client)).await;
        }
        request::refuse_connection(proxy, &mut client).await;
        return client.linger(proxy.limits.linger_timeout).await;
    }
    if client.stream.has_chosen_http2() {
        return Box::pin(http2::serve(proxy, options, client)).await;
    }
    let mut head = client.next_head(&proxy.limits).await;
    if proxy.limits.http2 == Http2::On
        && !client.identity.is_tls
        && let NextHead::Complete(length) = head
        && http2::is_preface(&client.read_buffer.bytes()[..length])
    {
        return Box::pin(http2::serve(proxy, options, client)).await;
    }
    loop {
        let after = match head {
            NextHead::Closed => return client.end().await,
            NextHead::Refused(error) => request::refuse(proxy, &mut client, error).await,
            NextHead::Complete(length) => request::handle(proxy, &mut client, length, options).await,
        };
        match after {
            AfterResponse::NextRequest => {}
            AfterResponse::Abort => return,
            // What a client has sent in advance is not read any more.
            AfterResponse::Close if client.read_buffer.is_empty() => return client.end().await,
            AfterResponse::Close | AfterResponse::Linger => {
                return client.linger(proxy.limits.linger_timeout).await;
            }
        }
        head = client.next_head(&proxy.limits).await;
    }
}

/// Tells a client that speaks plain HTTP where HTTPS is spoken, in words that it understands.
async fn refuse_plain_http(proxy: &Proxy, stream: ClientStream, identity: ClientIdentity) {
    let mut client = Http1Client::new(stream, identity, proxy.limits.half_close);
    if !matches!(client.next_head(&proxy.limits).await, NextHead::Closed) {
        request::refuse(proxy, &mut client, SPEAKS_HTTPS).await;
    }
    client.linger(proxy.limits.linger_timeout).await;
}

const SPEAKS_HTTPS: HttpError =
    HttpError::new(400, "this port speaks HTTPS, and the request came as plain HTTP: use https:// instead");

/// Who the client is; a Unix socket's peers have no address.
fn identity(address: Option<IpAddr>, is_trusted: bool) -> ClientIdentity {
    match address {
        Some(address) => ClientIdentity::new(address, is_trusted),
        None => ClientIdentity::unix(is_trusted),
    }
}
