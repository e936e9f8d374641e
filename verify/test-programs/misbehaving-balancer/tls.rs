//! TLS, right or wrong in one way, and plain HTTP beside it.

use std::fs;
use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::fault::Fault;
use crate::http::read;
use crate::server::Server;

pub struct Tls {
    fault: Fault,
    config: Arc<ServerConfig>,
    plain: TcpListener,
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params
}

impl Tls {
    /// Writes `ca.pem`, and in `plain` the address of plain HTTP, into `directory`.
    pub fn new(fault: Fault, directory: &Path) -> Self {
        let root = CertifiedIssuer::self_signed(authority("root"), KeyPair::generate().unwrap()).unwrap();
        let stranger =
            CertifiedIssuer::self_signed(authority("stranger"), KeyPair::generate().unwrap()).unwrap();
        let between =
            CertifiedIssuer::signed_by(authority("between"), KeyPair::generate().unwrap(), &root).unwrap();
        let name = if fault == Fault::TlsWrongName { "other.test" } else { "127.0.0.1" };
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        if fault == Fault::TlsExpired {
            (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2020, 1, 2));
        }
        let key = KeyPair::generate().unwrap();
        let issuer = if fault == Fault::TlsStranger { &stranger } else { &between };
        let mut chain = vec![params.signed_by(&key, issuer).unwrap().der().clone()];
        if fault != Fault::TlsIncompleteChain {
            chain.push(between.der().clone());
        }
        let versions = if fault == Fault::TlsWithout13 { &[&TLS12][..] } else { &[&TLS13, &TLS12] };
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key.serialize_der().try_into().unwrap())
            .unwrap();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        if fault == Fault::TlsWrongAlpn {
            config.alpn_protocols.insert(0, b"h2".to_vec());
        }
        let plain = TcpListener::bind("127.0.0.1:0").unwrap();
        fs::write(directory.join("ca.pem"), root.pem()).unwrap();
        fs::write(directory.join("plain"), plain.local_addr().unwrap().to_string()).unwrap();
        Self { fault, config: Arc::new(config), plain }
    }

    /// `None` when a hello of an old version was answered in its way.
    pub fn accept(&self, mut stream: TcpStream) -> Option<StreamOwned<ServerConnection, TcpStream>> {
        let mut head = [0; 11];
        let is_old = stream.peek(&mut head).is_ok_and(|count| count == 11) && matches!(head[9..], [3, 1 | 2]);
        if is_old && self.fault == Fault::TlsOld {
            // A ServerHello without a session, with the suite 0xc013 (RFC 4346).
            let hello = [&head[9..], &[7; 32], &[0, 0xc0, 0x13, 0]].concat();
            let message = [&[2, 0, 0, hello.len() as u8][..], &hello].concat();
            let _ = stream.write_all(&[&[22, 3, head[10], 0, message.len() as u8][..], &message].concat());
            return None;
        }
        let connection = ServerConnection::new(Arc::clone(&self.config)).unwrap();
        Some(StreamOwned::new(connection, stream))
    }

    /// Leads everybody to `target`, or serves like it.
    pub fn serve_plain(&self, server: &Server, target: SocketAddr) {
        for stream in self.plain.incoming().map_while(Result::ok) {
            if self.fault == Fault::TlsPlainAsWell {
                server.serve(&stream);
                continue;
            }
            let mut reader = BufReader::new(&stream);
            if let Some(request) = read(&mut reader) {
                let location = format!("https://{target}{}", request.path);
                let head = format!("HTTP/1.1 301 X\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
                let _ = (&stream).write_all(head.as_bytes());
            }
        }
    }
}
