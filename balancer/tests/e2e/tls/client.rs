//! A client that speaks TLS, and certificates for servers.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned, SupportedProtocolVersion,
};

use crate::harness::DEADLINE;

/// Writes a fresh pair as `NAME.pem`, whole at once, and returns its certificate.
pub fn write_pair(directory: &Path, file: &str, names: &[&str]) -> CertificateDer<'static> {
    let key = KeyPair::generate().unwrap();
    let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
    let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    let text = format!("{}{}", certificate.pem(), key.serialize_pem());
    let fresh = directory.join(format!(".{file}.new"));
    fs::write(&fresh, &text).unwrap();
    fs::rename(&fresh, directory.join(file)).unwrap();
    CertificateDer::from_pem_slice(text.as_bytes()).unwrap()
}

/// Trusts these certificates and no others.
pub fn trusting(trusted: &[CertificateDer<'static>]) -> Arc<ClientConfig> {
    of_version(trusted, &TLS13)
}

pub fn of_version(
    trusted: &[CertificateDer<'static>],
    version: &'static SupportedProtocolVersion,
) -> Arc<ClientConfig> {
    assert!([&TLS12, &TLS13].contains(&version));
    let mut roots = RootCertStore::empty();
    trusted.iter().for_each(|one| roots.add(one.clone()).unwrap());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
    Arc::new(config.with_root_certificates(roots).with_no_client_auth())
}

pub type Session = StreamOwned<ClientConnection, TcpStream>;

/// Connects, and returns once the handshake is done.
pub fn connect(address: SocketAddr, config: &Arc<ClientConfig>, name: &str) -> io::Result<Session> {
    let mut socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(DEADLINE))?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut session = ClientConnection::new(Arc::clone(config), name).unwrap();
    while session.is_handshaking() {
        session.complete_io(&mut socket)?;
    }
    Ok(StreamOwned::new(session, socket))
}

pub fn leaf(session: &Session) -> CertificateDer<'static> {
    session.conn.peer_certificates().unwrap()[0].clone().into_owned()
}

pub fn is_resumed(session: &Session) -> bool {
    session.conn.handshake_kind() == Some(HandshakeKind::Resumed)
}

/// Sends a request that closes its connection; returns all that comes. An end without
/// `close_notify` is an error.
pub fn ask(session: &mut Session, path: &str) -> io::Result<String> {
    write!(session, "GET {path} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")?;
    let mut text = Vec::new();
    session.read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Reads until `text` has come.
pub fn read_until(session: &mut Session, text: &str) -> String {
    let (mut read, mut byte) = (Vec::new(), [0]);
    while !read.ends_with(text.as_bytes()) {
        session.read_exact(&mut byte).unwrap();
        read.push(byte[0]);
    }
    String::from_utf8_lossy(&read).into_owned()
}
