//! HTTP/2 that clients choose in their TLS handshake.

use std::net::TcpStream;
use std::sync::Arc;

use balancer_proxy::listener::ListenerOptions;
use balancer_proxy::{Http2, ProxyLimits};
use balancer_tls::{PairFiles, Sources, Tls};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::client::{Client, DATA, END_STREAM, ENHANCE_YOUR_CALM, POST, WINDOW_UPDATE};
use crate::harness::{Relay, TIMEOUT, Upstream};

type Session = StreamOwned<ClientConnection, TcpStream>;

struct Server {
    relay: Relay,
    certificate: CertificateDer<'static>,
}

impl Server {
    fn start(upstream: &Upstream, limits: ProxyLimits) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("a.crt"), made.cert.pem()).unwrap();
        std::fs::write(path("a.key"), made.signing_key.serialize_pem()).unwrap();
        let pairs = vec![PairFiles { certificate: path("a.crt"), key: path("a.key") }];
        let sources = Sources { pairs, ..Sources::default() };
        let tls = Tls::new(sources, limits.http2.alpn_protocols(), |_| {}).unwrap();
        let options = ListenerOptions { tls: Some(Arc::new(tls)), ..ListenerOptions::default() };
        let relay = Relay::on(&[upstream.address], limits, options);
        Self { relay, certificate: made.cert.der().clone() }
    }

    /// A session whose client offers `protocols`, and what was chosen.
    fn connect(&self, protocols: &[&str]) -> (Session, Option<String>) {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let connection = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
        let stream = TcpStream::connect(self.relay.address).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        let mut session = StreamOwned::new(connection, stream);
        while session.conn.is_handshaking() {
            session.conn.complete_io(&mut session.sock).unwrap();
        }
        let chosen = session.conn.alpn_protocol().map(|chosen| String::from_utf8(chosen.to_vec()).unwrap());
        (session, chosen)
    }
}

#[test]
fn clients_that_offer_it_get_it_and_others_http_1() {
    let upstream = Upstream::start();
    let server = Server::start(&upstream, ProxyLimits::default());
    let (session, chosen) = server.connect(&["http/1.1", "h2"]);
    assert_eq!(chosen.as_deref(), Some("h2"), "the relay prefers it");
    let mut client = Client::on(session);
    client.get(1);
    assert_eq!(client.response(1), (200, b"ok".to_vec()));
    assert!(upstream.take()[0].head.contains("X-Forwarded-Proto: https\r\n"));
    for (offered, expected) in [(vec!["http/1.1"], Some("http/1.1")), (vec![], None)] {
        let (mut session, chosen) = server.connect(&offered);
        assert_eq!(chosen.as_deref(), expected);
        use std::io::{Read, Write};
        session.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        session.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
}

#[test]
fn it_may_be_off() {
    let upstream = Upstream::start();
    let server = Server::start(&upstream, ProxyLimits { http2: Http2::Off, ..ProxyLimits::default() });
    assert_eq!(server.connect(&["h2", "http/1.1"]).1.as_deref(), Some("http/1.1"));
}

#[test]
fn long_bodies_go_both_ways() {
    const LENGTH: usize = 1_000_003;
    let upstream = Upstream::with(|stream, seen| {
        use std::io::Write;
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", seen.body.len());
        let _ = stream.write_all(head.as_bytes());
        let _ = stream.write_all(&seen.body);
    });
    let server = Server::start(&upstream, ProxyLimits::default());
    let mut client = Client::on(server.connect(&["h2"]).0);
    let body: Vec<u8> = (0..LENGTH).map(|index| (index % 251) as u8).collect();
    let length = body.len().to_string();
    client.headers(1, 0, &[&POST[..], &[("content-length", &length)]].concat());
    // What holds until the relay's settings are acknowledged (RFC 9113, section 6.9.2).
    let mut room = 65_535_i64;
    let mut pieces = body.chunks(16_000).peekable();
    while let Some(piece) = pieces.next() {
        while room < piece.len() as i64 {
            let frame = client.read().unwrap();
            if frame.kind == WINDOW_UPDATE && frame.stream == 1 {
                room += i64::from(frame.code());
            }
        }
        client.send(DATA, if pieces.peek().is_none() { END_STREAM } else { 0 }, 1, piece);
        room -= piece.len() as i64;
    }
    let mut back = Vec::new();
    while back.len() < LENGTH {
        let frame = client.next_of(1).unwrap();
        if frame.kind == DATA {
            back.extend_from_slice(&frame.payload);
            for stream in [0, 1] {
                client.send(WINDOW_UPDATE, 0, stream, &(frame.payload.len() as u32).to_be_bytes());
            }
        }
    }
    assert!(back == body, "the same bytes");
}

#[test]
fn one_connection_too_many_is_told_so_in_its_own_protocol() {
    let upstream = Upstream::start();
    let limits = ProxyLimits { max_connections_per_ip: Some(1), ..ProxyLimits::default() };
    let server = Server::start(&upstream, limits);
    let _first = server.connect(&["h2"]);
    let mut second = Client::on(server.connect(&["h2"]).0);
    assert_eq!(second.goaway(), Some(ENHANCE_YOUR_CALM));
}
