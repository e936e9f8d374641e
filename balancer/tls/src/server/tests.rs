use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConnection};

use super::*;
use crate::test_certificates::{certificate, pem};

/// A directory with pairs, and the server of them.
struct Fixture {
    directory: tempfile::TempDir,
    published: Arc<Mutex<Vec<String>>>,
}

impl Fixture {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), published: Arc::default() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a fresh pair, and returns its certificate.
    fn write(&self, name: &str, names: &[&str]) -> CertificateDer<'static> {
        let (certificate, key) = pem(names);
        fs::write(self.path(name), format!("{certificate}{key}")).unwrap();
        CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()
    }

    fn tls(&self) -> Result<Tls, TlsError> {
        let sources = Sources { directory: Some(self.directory.path().to_owned()), ..Sources::default() };
        self.tls_of(sources)
    }

    fn tls_of(&self, sources: Sources) -> Result<Tls, TlsError> {
        let published = Arc::clone(&self.published);
        Tls::new(sources, vec![b"http/1.1".to_vec()], move |all| {
            *published.lock().unwrap() = all.into_iter().map(|status| status.name).collect();
        })
    }

    fn published(&self) -> Vec<String> {
        self.published.lock().unwrap().clone()
    }
}

/// Trusts everybody: what is tested is which certificate comes.
#[derive(Debug)]
struct TrustAll;

impl rustls::client::danger::ServerCertVerifier for TrustAll {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

fn client(protocol: &[u8], identity: Option<(String, String)>) -> ClientConfig {
    let builder =
        ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(RootCertStore::empty());
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            builder.with_client_auth_cert(vec![chain], key).unwrap()
        }
    };
    config.dangerous().set_certificate_verifier(Arc::new(TrustAll));
    config.alpn_protocols = vec![protocol.to_vec()];
    config.resumption = Resumption::in_memory_sessions(8);
    config
}

/// A handshake in memory; returns how it went and the certificate that the client got.
fn handshake(
    tls: &Tls,
    client: &Arc<ClientConfig>,
    name: &str,
) -> Result<(HandshakeKind, Vec<u8>), rustls::Error> {
    let mut client =
        ClientConnection::new(Arc::clone(client), ServerName::try_from(name.to_owned()).unwrap()).unwrap();
    let mut server = ServerConnection::new(tls.config()).unwrap();
    for _ in 0..4 {
        let mut flight = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut flight).unwrap();
        }
        server.read_tls(&mut flight.as_slice()).unwrap();
        server.process_new_packets()?;
        let mut flight = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut flight).unwrap();
        }
        client.read_tls(&mut flight.as_slice()).unwrap();
        client.process_new_packets()?;
    }
    // Tickets have come with this as well.
    server.writer().write_all(b"ok").unwrap();
    let mut flight = Vec::new();
    server.write_tls(&mut flight).unwrap();
    client.read_tls(&mut flight.as_slice()).unwrap();
    client.process_new_packets().unwrap();
    client.reader().read_exact(&mut [0; 2]).unwrap();
    let leaf = client.peer_certificates().unwrap()[0].to_vec();
    Ok((server.handshake_kind().unwrap(), leaf))
}

#[test]
fn a_reload_puts_new_certificates_into_the_next_handshake() {
    let fixture = Fixture::new();
    fixture.write("a.pem", &["a.test"]);
    let second = fixture.write("b.pem", &["b.test"]);
    let tls = fixture.tls().unwrap();
    assert_eq!(fixture.published(), ["a.test", "b.test"]);
    let plain = Arc::new(client(b"http/1.1", None));
    assert_eq!(handshake(&tls, &plain, "b.test").unwrap().1, second.to_vec());

    let third = fixture.write("b.pem", &["b.test"]);
    fixture.write("c.pem", &["c.test"]);
    let reloaded = tls.reload();
    assert!(reloaded.refused.is_empty(), "{reloaded:?}");
    let fresh: Vec<_> = reloaded.fresh.iter().map(|status| status.name.as_str()).collect();
    assert_eq!(fresh, ["b.test", "c.test"]);
    let fresh_client = Arc::new(client(b"http/1.1", None));
    assert_eq!(handshake(&tls, &fresh_client, "b.test").unwrap().1, third.to_vec());
    assert_eq!(fixture.published(), ["a.test", "b.test", "c.test"]);
    assert!(tls.reload().fresh.is_empty(), "nothing has changed");

    fs::remove_file(fixture.path("c.pem")).unwrap();
    tls.reload();
    assert_eq!(fixture.published(), ["a.test", "b.test"]);
}

#[test]
fn a_broken_pair_is_refused_and_the_one_before_stays() {
    let fixture = Fixture::new();
    let first = fixture.write("a.pem", &["a.test"]);
    fixture.write("b.pem", &["b.test"]);
    let tls = fixture.tls().unwrap();
    let (_, other_key) = pem(&["a.test"]);
    let (certificate, _) = pem(&["a.test"]);
    for broken in [String::new(), format!("{certificate}{other_key}"), certificate] {
        fs::write(fixture.path("a.pem"), broken).unwrap();
        let newest = fixture.write("b.pem", &["b.test"]);
        let reloaded = tls.reload();
        assert_eq!(reloaded.refused.len(), 1, "{reloaded:?}");
        assert!(reloaded.refused[0].contains("a.pem"), "{reloaded:?}");
        let plain = Arc::new(client(b"http/1.1", None));
        assert_eq!(handshake(&tls, &plain, "a.test").unwrap().1, first.to_vec());
        assert_eq!(handshake(&tls, &plain, "b.test").unwrap().1, newest.to_vec(), "others are exchanged");
    }
    // Not even an empty directory takes the certificates away.
    for name in ["a.pem", "b.pem"] {
        fs::remove_file(fixture.path(name)).unwrap();
    }
    assert!(tls.reload().refused[0].contains("no certificate"), "an empty directory is a mistake");
    let plain = Arc::new(client(b"http/1.1", None));
    assert_eq!(handshake(&tls, &plain, "a.test").unwrap().1, first.to_vec());
}

#[test]
fn a_start_with_a_broken_pair_is_refused() {
    let fixture = Fixture::new();
    fixture.write("a.pem", &["a.test"]);
    fs::write(fixture.path("b.crt"), "").unwrap();
    assert!(fixture.tls().unwrap_err().to_string().contains("b.crt"));
}

#[test]
fn sessions_are_resumed_also_over_a_reload() {
    let fixture = Fixture::new();
    fixture.write("a.pem", &["a.test"]);
    let tls = fixture.tls().unwrap();
    let plain = Arc::new(client(b"http/1.1", None));
    let kind = || handshake(&tls, &plain, "a.test").unwrap().0;
    assert_eq!(kind(), HandshakeKind::Full);
    assert_eq!(kind(), HandshakeKind::Resumed);
    fixture.write("a.pem", &["a.test"]);
    tls.reload();
    assert_eq!(kind(), HandshakeKind::Resumed, "the keys of tickets live on");
    assert_eq!(tls.config().max_early_data_size, 0);
}

#[test]
fn sessions_of_another_process_are_resumed_where_the_same_clients_are_trusted() {
    let fixture = Fixture::new();
    fixture.write("a.pem", &["a.test"]);
    let client = Arc::new(client(b"http/1.1", None));
    let (before, after) = (fixture.tls().unwrap(), fixture.tls().unwrap());
    let kind = |tls| handshake(tls, &client, "a.test").unwrap().0;
    assert_eq!((kind(&before), kind(&before)), (HandshakeKind::Full, HandshakeKind::Resumed));
    after.resume(&before.tickets());
    assert_eq!(kind(&after), HandshakeKind::Resumed);
    let tickets = before.tickets();
    let others = shared_protocol::Tickets { client_ca: Some(shared_protocol::Secret::new(&[1])), ..tickets };
    let stranger = fixture.tls().unwrap();
    stranger.resume(&others);
    assert_eq!(kind(&stranger), HandshakeKind::Full);
}

#[test]
fn challenges_are_answered_while_there_are_any_and_only_to_those_who_ask_for_them() {
    let fixture = Fixture::new();
    let own = fixture.write("a.pem", &["a.test"]);
    let tls = fixture.tls().unwrap();
    let (plain, acme) = (Arc::new(client(b"http/1.1", None)), Arc::new(client(ACME_TLS_ALPN, None)));
    assert!(handshake(&tls, &acme, "a.test").is_err());
    let challenge = certificate(&["a.test"]);
    tls.begin_challenge("A.test", &challenge);
    assert_eq!(handshake(&tls, &acme, "a.test").unwrap().1, challenge.leaf());
    assert!(handshake(&tls, &acme, "b.test").is_err(), "there is none for this name");
    assert_eq!(handshake(&tls, &plain, "a.test").unwrap().1, own.to_vec());
    tls.end_challenge("a.test");
    assert!(handshake(&tls, &acme, "a.test").is_err());
    assert_eq!(tls.config().alpn_protocols, [b"http/1.1".to_vec()]);
}

#[test]
fn certificates_from_elsewhere_are_added_and_replaced() {
    let fixture = Fixture::new();
    let tls = fixture.tls_of(Sources::default()).unwrap();
    let plain = || Arc::new(client(b"http/1.1", None));
    assert!(handshake(&tls, &plain(), "a.test").is_err(), "there is no certificate yet");
    for _ in 0..2 {
        let made = certificate(&["a.test"]);
        tls.insert("acme", made.clone());
        assert_eq!(handshake(&tls, &plain(), "a.test").unwrap().1, made.leaf());
        assert_eq!(fixture.published(), ["a.test"]);
    }
    tls.reload();
    assert_eq!(fixture.published(), ["a.test"], "a reload of files does not take it away");
}

/// An authority, and somebody whose certificate it has signed.
fn authority() -> (String, (String, String)) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(vec![]).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let own = parameters.self_signed(&key).unwrap();
    let issuer = rcgen::Issuer::new(parameters, key);
    let key = rcgen::KeyPair::generate().unwrap();
    let signed = rcgen::CertificateParams::new(vec!["client".to_owned()]).unwrap();
    let signed = signed.signed_by(&key, &issuer).unwrap();
    (own.pem(), (signed.pem(), key.serialize_pem()))
}

#[test]
fn clients_need_a_certificate_of_an_authority_that_is_named_and_reloaded() {
    let fixture = Fixture::new();
    let files = tempfile::tempdir().unwrap();
    fixture.write("a.pem", &["a.test"]);
    let (first, second) = (authority(), authority());
    let client_ca = files.path().join("ca.pem");
    fs::write(&client_ca, &first.0).unwrap();
    let directory = Some(fixture.directory.path().to_owned());
    let sources = Sources { directory, client_ca: Some(client_ca.clone()), ..Sources::default() };
    let tls = fixture.tls_of(sources).unwrap();
    let (one, other) =
        (Arc::new(client(b"http/1.1", Some(first.1))), Arc::new(client(b"http/1.1", Some(second.1))));
    let nobody = Arc::new(client(b"http/1.1", None));
    let try_one = |client: &Arc<ClientConfig>| handshake(&tls, client, "a.test");
    assert!(try_one(&nobody).is_err());
    assert!(try_one(&other).is_err());
    assert_eq!(try_one(&one).unwrap().0, HandshakeKind::Full);
    assert_eq!(try_one(&one).unwrap().0, HandshakeKind::Resumed);

    fs::write(&client_ca, "").unwrap();
    assert!(tls.reload().refused[0].contains("ca.pem"));
    assert!(try_one(&one).is_ok(), "the one before stays");

    fs::write(&client_ca, &second.0).unwrap();
    assert!(tls.reload().refused.is_empty());
    assert!(try_one(&one).is_err(), "not even by a ticket");
    assert_eq!(try_one(&other).unwrap().0, HandshakeKind::Full);
}

#[test]
fn files_are_stale_once_they_have_changed_and_settled() {
    let fixture = Fixture::new();
    fixture.write("a.pem", &["a.test"]);
    let tls = fixture.tls().unwrap();
    let mut seen = None;
    let mut is_stale = || tls.is_stale(&mut seen);
    assert!(!is_stale() && !is_stale());
    fixture.write("a.pem", &["a.test"]);
    assert!(!is_stale(), "who writes it may not be ready");
    fixture.write("b.pem", &["b.test"]);
    assert!(!is_stale(), "something has changed again");
    assert!(is_stale());
    tls.reload();
    assert!(!is_stale());
    // A link that leads elsewhere, as those of certbot.
    let elsewhere = tempfile::tempdir().unwrap();
    fs::rename(fixture.path("b.pem"), elsewhere.path().join("b2")).unwrap();
    std::os::unix::fs::symlink(elsewhere.path().join("b2"), fixture.path("b.pem")).unwrap();
    assert!(!is_stale());
    assert!(is_stale());
}
