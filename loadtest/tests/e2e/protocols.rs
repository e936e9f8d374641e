//! Unix sockets, TLS and HTTP/2, and connections that are not kept.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;

use crate::program::{connections, run};
use shared_testkit::server::{Server, ok};

#[test]
fn connections_that_are_not_kept_are_new_for_each_request() {
    let server = Server::answering(|request| {
        assert!(request.head.contains("connection: close"));
        ok("x")
    });
    let report = run(&format!("-n 50 -c 5 --no-keepalive --json {}", server.url())).json();
    assert_eq!((report["outcome"]["succeeded"].as_u64(), connections(&server)), (Some(50), 50));
    assert_eq!(report["connectTime"]["count"], 50);
    let (connect, service) = (&report["connectTime"]["min"], &report["serviceTime"]["min"]);
    assert!(service.as_f64().unwrap() > connect.as_f64().unwrap(), "connecting is part of it");
}

#[test]
fn a_unix_socket_serves_as_well() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("http.sock");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream.unwrap());
                let mut line = String::new();
                while reader.read_line(&mut line).unwrap_or(0) > 0 {
                    if line == "\r\n" && reader.get_mut().write_all(&ok("x")).is_err() {
                        return;
                    }
                    line.clear();
                }
            });
        }
    });
    let report = run(&format!("-n 40 -c 4 --unix-socket {} --json http://localhost/", path.display())).json();
    assert_eq!(report["outcome"]["succeeded"], 40);
    let nobody = run(&format!("--unix-socket {}/none http://localhost/", directory.path().display()));
    assert_eq!(nobody.code, 1);
    assert!(nobody.stderr.contains("none"), "{}", nobody.stderr);
}

/// What was served over HTTP/2, or TLS.
struct Served {
    address: SocketAddr,
    connections: Arc<AtomicU64>,
}

/// Serves in a runtime of its own until the test is over.
fn serve(tls: bool, http2: bool) -> Served {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&connections);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            let acceptor = tls.then(|| acceptor(http2));
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

fn acceptor(http2: bool) -> TlsAcceptor {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let key = made.signing_key.serialize_der().try_into().unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![if http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    TlsAcceptor::from(Arc::new(config))
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

#[test]
fn http2_with_prior_knowledge_shares_its_connections() {
    let served = serve(false, true);
    let url = format!("http://{}/", served.address);
    let report = run(&format!("--http2 -c 3 --streams 5 -n 300 --expect-body hello --json {url}")).json();
    assert_eq!(report["outcome"]["succeeded"], 300, "{}", report["errors"]);
    // One more is made to find out that somebody is there.
    assert_eq!(served.connections.load(Ordering::Relaxed), 4);
    assert_eq!(report["connectTime"]["count"], 3);
    assert_eq!(report["setup"]["protocol"], "HTTP/2");
    assert_eq!(report["workers"].as_array().unwrap().len(), 2);
    let missing = run(&format!("--http2 -c 1 -n 5 --json {url}missing")).json();
    assert_eq!(missing["errors"][0]["class"], "status4xx");
}

#[test]
fn http2_to_a_server_without_it_is_malformed_and_ends() {
    let server = Server::answering(|_| ok("x"));
    let output = run(&format!("--http2 -c 1 -n 2 --timeout 5s --json {}", server.url()));
    assert_eq!(output.code, 1);
    assert_ne!(output.json()["errors"][0]["class"], "timeout");
}

#[test]
fn https_needs_a_certificate_or_insecure() {
    for http2 in [false, true] {
        let served = serve(true, http2);
        let url = format!("https://{}/", served.address);
        let options = if http2 { "--http2" } else { "" };
        let report = run(&format!("{options} --insecure -n 60 -c 3 --expect-body hello --json {url}")).json();
        assert_eq!(report["outcome"]["succeeded"], 60, "{}", report["errors"]);
        let refused = run(&format!("{options} -n 5 {url}"));
        assert_eq!(refused.code, 1);
        assert!(refused.stderr.contains("--insecure"), "{}", refused.stderr);
    }
}
