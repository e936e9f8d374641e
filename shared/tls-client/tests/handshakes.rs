//! Handshakes in memory: who is accepted, and what is said of who is not.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails, and says where")]

use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, Error, ServerConfig, ServerConnection};
use shared_tls_client::{Trust, client_config, words};

/// A server's configuration, and the certificate in it as PEM.
fn server(
    params: &CertificateParams,
    issuer: Option<&CertifiedIssuer<'static, KeyPair>>,
) -> (ServerConfig, String) {
    let key = KeyPair::generate().unwrap();
    let certificate = match issuer {
        Some(issuer) => params.signed_by(&key, issuer).unwrap(),
        None => params.self_signed(&key).unwrap(),
    };
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.serialize_der().try_into().unwrap())
        .unwrap();
    (config, certificate.pem())
}

/// What the client says of `server`.
fn connect(trust: &Trust, server: &ServerConfig, name: &'static str) -> Result<(), Error> {
    let config = client_config(trust, &[b"http/1.1"]).unwrap();
    let mut client = ClientConnection::new(Arc::new(config), ServerName::try_from(name).unwrap()).unwrap();
    let mut server = ServerConnection::new(Arc::new(server.clone())).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        server.read_tls(&mut &bytes[..]).unwrap();
        let _ = server.process_new_packets();
        let mut bytes = Vec::new();
        server.write_tls(&mut bytes).unwrap();
        client.read_tls(&mut &bytes[..]).unwrap();
        client.process_new_packets()?;
    }
    Ok(())
}

fn file(directory: &Path, pem: &str) -> Trust {
    let path = directory.join("ca.pem");
    std::fs::write(&path, pem).unwrap();
    Trust::File(path)
}

fn params(name: &str) -> CertificateParams {
    CertificateParams::new(vec![name.to_owned()]).unwrap()
}

#[test]
fn an_authority_vouches_for_its_servers_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let mut ca = params("an authority");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
    let trust = file(directory.path(), &ca.pem());
    let (config, _) = server(&params("localhost"), Some(&ca));
    connect(&trust, &config, "localhost").unwrap();
    let other = words::of(&connect(&trust, &config, "other.test").unwrap_err());
    assert!(other.contains("not for other.test but for"), "{other}");
    let (stranger, _) = server(&params("localhost"), None);
    let unknown = words::of(&connect(&trust, &stranger, "localhost").unwrap_err());
    assert!(unknown.contains("nobody who is trusted"), "{unknown}");
    connect(&Trust::Anybody, &stranger, "localhost").unwrap();
}

/// As `openssl req -x509` makes them: self-signed, and marked as an authority's.
#[test]
fn a_certificate_vouches_for_itself_in_its_time_and_for_its_names() {
    let directory = tempfile::tempdir().unwrap();
    let mut own = params("localhost");
    own.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let (config, pem) = server(&own, None);
    let trust = file(directory.path(), &pem);
    connect(&trust, &config, "localhost").unwrap();
    assert!(words::of(&connect(&trust, &config, "other.test").unwrap_err()).contains("other.test"));
    own.not_after = rcgen::date_time_ymd(2020, 1, 2);
    own.not_before = rcgen::date_time_ymd(2020, 1, 1);
    let (config, pem) = server(&own, None);
    let expired = words::of(&connect(&file(directory.path(), &pem), &config, "localhost").unwrap_err());
    assert_eq!(expired, "the certificate has expired on 2020-01-02T00:00:00Z");
}
