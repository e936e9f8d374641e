//! A client's connection from its first request to its end.

use std::net::IpAddr;
use std::sync::Arc;

use crate::client::{ClientStream, Http1Client, NextHead};
use crate::forwarded::ClientIdentity;
use crate::http2;
use crate::ip_limit::Decision;
use crate::limits::Http2;
use crate::proxy::Proxy;
use crate::request::{self, AfterResponse};

/// Serves requests until the connection ends.
pub(crate) async fn serve(proxy: &Arc<Proxy>, stream: ClientStream, address: IpAddr) {
    let identity = ClientIdentity::new(address, proxy.limits.trust_forwarded);
    let mut client = Http1Client::new(stream, identity, proxy.limits.half_close);
    let _permit = match proxy.ip_limit.enter(address, &proxy.counters.connections_refused) {
        Decision::Admitted(permit) => permit,
        Decision::Refused(_permit) => {
            request::refuse_connection(proxy, &mut client).await;
            return client.linger(proxy.limits.linger_timeout).await;
        }
        Decision::Closed => return,
    };
    let mut head = client.next_head(&proxy.limits).await;
    if proxy.limits.http2 == Http2::On
        && let NextHead::Complete(length) = head
        && http2::is_preface(&client.read_buffer.bytes()[..length])
    {
        let Http1Client { stream, read_buffer, identity, .. } = client;
        return Box::pin(http2::serve(proxy, stream, read_buffer, identity)).await;
    }
    loop {
        let after = match head {
            NextHead::Closed => return,
            NextHead::Refused(error) => request::refuse(proxy, &mut client, error).await,
            NextHead::Complete(length) => request::handle(proxy, &mut client, length).await,
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
        head = client.next_head(&proxy.limits).await;
    }
}
