//! A server of HTTP/2, or of HTTP/1.1, with or without TLS.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;

use shared_testkit::server::ok;

/// What was served over HTTP/2, or TLS.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) connections: Arc<AtomicU64>,
}

/// Serves in a runtime of its own until the test is over.
pub(crate) fn serve(tls: Option<ServerConfig>, http2: bool) -> Served {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&connections);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            let acceptor = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let _ = stream.set_nodelay(true);
                counter.fetch_add(1, Ordering::Relaxed);
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    match acceptor {
                        None => speak(stream, http2).await,
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                speak(stream, http2).await;
                            }
                        }
                    }
                });
            }
        });
    });
    Served { address, connections }
}

/// A configuration and its certificate, self-signed for 127.0.0.1, as PEM.
pub(crate) fn tls(protocols: &[&[u8]]) -> (ServerConfig, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let key = made.signing_key.serialize_der().try_into().unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    config.ticketer = ring::Ticketer::new().unwrap();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    (config, made.cert.pem())
}

async fn speak(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, http2: bool) {
    if http2 { speak_http2(stream).await } else { speak_http1(stream).await }
}

async fn speak_http2(stream: impl AsyncRead + AsyncWrite + Unpin) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    let mut number = 0;
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        number += 1;
        let status = if request.uri().path() == "/missing" { 404 } else { 200 };
        let response =
            http::Response::builder().status(status).header("x-worker-id", number % 2).body(()).unwrap();
        let Ok(mut body) = respond.send_response(response, false) else { return };
        if body.send_data(Bytes::from_static(b"hello"), true).is_err() {
            return;
        }
    }
}

async fn speak_http1(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut buffer = [0; 4096];
    while let Ok(1..) = stream.read(&mut buffer).await {
        if stream.write_all(&ok("hello")).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}
