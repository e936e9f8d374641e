//! TLS: who is trusted, sessions that are resumed, and what is said of failures.

use std::sync::Arc;

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use crate::program::run;
use crate::served::{serve, tls};
use shared_testkit::server::Server;

#[test]
fn https_is_trusted_by_cacert_or_insecure_or_not_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    for http2 in [false, true] {
        let (config, pem) = tls(&[if http2 { b"h2" } else { b"http/1.1" }]);
        std::fs::write(&ca, pem).unwrap();
        let served = serve(Some(config), http2);
        let url = format!("https://{}/", served.address);
        let options = if http2 { "--http2 --streams 3" } else { "" };
        for trust in [format!("--cacert {}", ca.display()), "--insecure".to_owned()] {
            let output = run(&format!("{options} {trust} -n 60 -c 3 --expect-body hello --json {url}"));
            let report = output.json();
            assert_eq!(report["outcome"]["succeeded"], 60, "{}", report["errors"]);
            assert!(
                report["tls"]["security"].as_str().unwrap().starts_with("TLS 1.3, AES_"),
                "{}",
                report["tls"]
            );
        }
        let refused = run(&format!("{options} -n 5 {url}"));
        assert_eq!(refused.code, 1);
        for part in ["signed by nobody who is trusted", "--cacert FILE", "--insecure"] {
            assert!(refused.stderr.contains(part), "{}", refused.stderr);
        }
        let localhost = run(&format!(
            "{options} --cacert {} -n 5 https://127.0.0.2:{}/",
            ca.display(),
            served.address.port()
        ));
        assert_eq!(localhost.code, 1, "nobody listens there");
    }
    let missing = run("--cacert /no/such/ca.pem https://127.0.0.1:1/");
    assert!(
        missing
            .stderr
            .contains("/no/such/ca.pem: no such file or directory (a right one is --cacert ca.pem)"),
        "{}",
        missing.stderr
    );
}

#[test]
fn connections_resume_unless_told_otherwise() {
    let (config, _) = tls(&[b"http/1.1"]);
    let served = serve(Some(config), false);
    let run = |options: &str| {
        let report = run(&format!(
            "--insecure --no-keepalive -n 100 -c 10 {options} --json https://{}/",
            served.address
        ))
        .json();
        assert_eq!(report["outcome"]["succeeded"], 100, "{}", report["errors"]);
        let of = |kind: &str| report["tls"]["handshakes"][kind].as_u64().unwrap();
        (of("full"), of("resumed"))
    };
    assert_eq!(run("--no-resumption"), (100, 0));
    let (full, resumed) = run("");
    assert!(full <= 10 && full + resumed == 100, "{full} full, {resumed} resumed");
}

#[test]
fn failures_of_tls_are_named() {
    let said = |options: &str, address: &dyn std::fmt::Display| {
        let output = run(&format!("--insecure -n 2 {options} https://{address}/"));
        assert_eq!(output.code, 1);
        output.stderr
    };
    let (config, _) = tls(&[b"http/1.1"]);
    let http1_alone = serve(Some(config), false);
    let alert = said("--http2", &http1_alone.address);
    assert!(alert.contains("the TLS alert no_application_protocol (120)"), "{alert}");
    let (config, _) = tls(&[]);
    let without_alpn = serve(Some(config), false);
    let not_chosen = said("--http2", &without_alpn.address);
    assert!(not_chosen.contains("did not choose h2 by ALPN (without --http2"), "{not_chosen}");
    let plain = Server::start(|mut connection| {
        connection.write(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n");
        connection.read();
    });
    let no_tls = said("", &plain.address());
    assert!(no_tls.contains("does not speak TLS") && no_tls.contains("http://"), "{no_tls}");
}

/// The alert comes when the client takes the handshake for done (RFC 8446, section 4.4.3).
#[test]
fn a_certificate_that_the_client_has_not_is_named() {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(made.cert.pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(ring::default_provider());
    let clients =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_single_cert(vec![made.cert.der().clone()], made.signing_key.serialize_der().try_into().unwrap())
        .unwrap();
    let served = serve(Some(config), false);
    let report = run(&format!("--insecure -n 4 -c 1 --json https://{}/", served.address)).json();
    let row = &report["errors"][0];
    assert!(
        row["class"] == "tls" && row["example"].as_str().unwrap().contains("certificate_required (116)"),
        "{row}"
    );
}
