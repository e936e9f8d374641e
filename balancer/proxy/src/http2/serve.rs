//! One connection from its preface to its end, and each of its requests.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{Method, Request};
use tokio::sync::watch;

use super::bounds;
use super::drain;
use super::driver::{Driver, Event};
use super::meter::Meter;
use super::state::{ActiveRequest, ConnectionState};
use crate::client::{self, ClientStream, Http1Client, Http2Stream, NextHead};
use crate::forwarded::ClientIdentity;
use crate::listener::ListenerOptions;
use crate::proxy::Proxy;
use crate::request::{self, AfterResponse};
use crate::timer;

/// Serves the requests of a client that speaks HTTP/2 until its connection ends.
pub(crate) async fn serve(proxy: &Arc<Proxy>, options: &Arc<ListenerOptions>, client: Http1Client) {
    let Http1Client { stream, read_buffer: early, identity, .. } = client;
    let identity = ClientIdentity { is_http2: true, ..identity };
    let state = Arc::new(ConnectionState::default());
    let meter = Meter::new(stream, early, Arc::clone(&state), proxy.limits.linger_timeout);
    let handshake = bounds::builder().handshake(meter);
    let Some(Ok(connection)) = timer::timeout(proxy.limits.head_timeout, handshake).await else { return };
    let mut driver = Driver::new(proxy, connection, Arc::clone(&state));
    let mut draining = drain::watch();
    loop {
        tokio::select! {
            biased;
            () = leave(&mut draining), if !driver.is_leaving() => driver.leave(true),
            event = driver.next() => match event {
                Event::Request(request, responder) => {
                    let active = ActiveRequest::begin(&state);
                    let (proxy, options) = (Arc::clone(proxy), Arc::clone(options));
                    let carried_out = carry_out(proxy, options, identity.clone(), request, responder, active);
                    // Boxed, as the runtime moves what it is given several times.
                    tokio::spawn(Box::pin(carried_out));
                }
                Event::Ended => return,
            },
            () = state.changed.notified() => {}
        }
    }
}

/// Ends the connection of a client that has as many as it may.
pub(crate) async fn refuse(proxy: &Proxy, client: Http1Client) {
    let limits = &proxy.limits;
    let Http1Client { stream, read_buffer, .. } = client;
    let meter = Meter::new(stream, read_buffer, Arc::default(), limits.linger_timeout);
    let handshake = bounds::builder().handshake::<_, Bytes>(meter);
    if let Some(Ok(mut connection)) = timer::timeout(limits.head_timeout, handshake).await {
        connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
        // How the client takes it does not matter.
        let _ = timer::timeout(limits.head_timeout, poll_fn(|cx| connection.poll_closed(cx))).await;
    }
}

/// Returns when the cluster is going away.
async fn leave(draining: &mut watch::Receiver<bool>) {
    // The sender lives as long as the thread.
    let _ = draining.wait_for(|draining| *draining).await;
}

/// Has one request carried out.
async fn carry_out(
    proxy: Arc<Proxy>,
    options: Arc<ListenerOptions>,
    identity: ClientIdentity,
    request: Request<RecvStream>,
    responder: SendResponse<Bytes>,
    active: ActiveRequest,
) {
    let (request, body) = request.into_parts();
    let (mut head, is_head) = (Vec::with_capacity(512), request.method == Method::HEAD);
    let written = client::write_head(&request, body.is_end_stream(), &mut head);
    drop(request);
    let stream = match &written {
        Ok(kind) => Http2Stream::new(head, *kind, is_head, body, responder),
        Err(_) => Http2Stream::refused(is_head, body, responder),
    };
    let mut client =
        Http1Client::new(ClientStream::Http2(Box::new(stream)), identity, proxy.limits.half_close);
    client.hsts.clone_from(&options.hsts);
    let after = match written {
        Err(error) => request::refuse(&proxy, &mut client, error).await,
        Ok(_) => match client.next_head(&proxy.limits).await {
            NextHead::Closed => AfterResponse::Abort,
            NextHead::Refused(error) => request::refuse(&proxy, &mut client, error).await,
            NextHead::Complete(length) => request::handle(&proxy, &mut client, length, &options).await,
        },
    };
    if let ClientStream::Http2(stream) = &mut client.stream {
        match after {
            AfterResponse::Abort => stream.abort(),
            AfterResponse::NextRequest | AfterResponse::Close | AfterResponse::Linger => stream.finish(),
        }
        if stream.was_reset() {
            active.note_reset();
        }
    }
}
