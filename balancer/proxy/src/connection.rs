//! A client's connection from its first request to its end.

use std::net::IpAddr;

use crate::client::{ClientStream, Http1Client, NextHead};
use crate::forwarded::ClientIdentity;
use crate::ip_limit::Decision;
use crate::listener::{AcceptedSocket, ListenerOptions};
use crate::proxy::Proxy;
use crate::proxy_protocol;
use crate::request::{self, AfterResponse};

/// Serves requests until the connection ends.
pub(crate) async fn serve(proxy: &Proxy, socket: AcceptedSocket, options: &ListenerOptions) {
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
    let identity = identity(address, proxy.limits.trust_forwarded || trusts_peers);
    let mut client = Http1Client::new(ClientStream::from(socket), identity, proxy.limits.half_close);
    client.hsts.clone_from(&options.hsts);
    let _permit = match proxy.ip_limit.enter(address, &proxy.counters.connections_refused) {
        Decision::Admitted(permit) => permit,
        Decision::Refused(_permit) => {
            request::refuse_connection(proxy, &mut client).await;
            return client.linger(proxy.limits.linger_timeout).await;
        }
        Decision::Closed => return,
    };
    loop {
        let after = match client.next_head(&proxy.limits).await {
            NextHead::Closed => return,
            NextHead::Refused(error) => request::refuse(proxy, &mut client, error).await,
            NextHead::Complete(length) => request::handle(proxy, &mut client, length, options).await,
        };
        match after {
            AfterResponse::NextRequest => {}
            AfterResponse::Abort => return,
            // What a client has sent in advance is not read any more.
            AfterResponse::Close if client.read_buffer.is_empty() => return,
            AfterResponse::Close | AfterResponse::Linger => {
                return client.linger(proxy.limits.linger_timeout).await;
            }
        }
    }
}

/// Who the client is; a Unix socket's peers have no address.
fn identity(address: Option<IpAddr>, is_trusted: bool) -> ClientIdentity {
    match address {
        Some(address) => ClientIdentity::new(address, is_trusted),
        None => ClientIdentity::unix(is_trusted),
    }
}
