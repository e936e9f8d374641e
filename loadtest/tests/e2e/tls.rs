//! TLS: who is trusted, sessions that are resumed, and what is said of failures.

use std::sync::Arc;

use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;

use crate::program::run;
use crate::served::{serve, tls};
use shared_testkit::server::{Server, ok};

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

/// Has no certificate for anybody.
#[derive(Debug)]
struct Nobody;

impl ResolvesServerCert for Nobody {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
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
    let config =
        ServerConfig::builder_with_provider(Arc::new(tokio_rustls::rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Nobody));
    let refusing = serve(Some(config), false);
    let refused = said("", &refusing.address);
    assert!(refused.contains("the TLS alert access_denied (49)"), "{refused}");
    let plain = Server::answering(|_| ok("x"));
    let no_tls = said("", &plain.address());
    assert!(no_tls.contains("does not speak TLS") && no_tls.contains("http://"), "{no_tls}");
}
