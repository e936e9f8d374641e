//! Clusters that are asked over TLS, by HTTP/2 and on Unix sockets.

use crate::fault::Fault;
use crate::harness::{Cluster, Outcome, verify};
use crate::misbehaving::Server;

fn figure(outcome: &Outcome) -> String {
    let checks = outcome.checks();
    let check = checks.iter().find(|check| check["name"] == "tls").unwrap();
    check["figure"].as_str().unwrap().to_owned()
}

fn judge(server: &Server, more: &[&str]) -> Outcome {
    let arguments = server.secured_arguments();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    verify(&[&arguments[..], &["--format", "json"], more].concat())
}

#[test]
fn a_server_whose_tls_is_right_passes_and_all_other_checks_go_over_it() {
    let server = Server::secured(Fault::None);
    let outcome = judge(&server, &["--skip", "balance,cpu-interference,expiry,leaks"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let figure = figure(&outcome);
    for part in [
        "TLS 1.3 and 1.2 spoken",
        "TLS 1.1 and 1.0 refused",
        "valid for 127.0.0.1",
        "http/1.1 by ALPN",
        "leads to HTTPS (301)",
        "no HSTS",
    ] {
        assert!(figure.contains(part), "{part}: {figure}");
    }
    assert_eq!(outcome.of("shared-state"), "passed");
}

#[test]
fn what_is_wrong_is_said_in_a_sentence() {
    for (fault, part) in [
        (Fault::TlsOld, "TLS 1.0, which RFC 8996 forbids, is spoken"),
        (Fault::TlsWithout13, "TLS 1.3 is not spoken: the server sent the TLS alert protocol_version (70)"),
        (Fault::TlsExpired, "the certificate has expired on 2020-01-02T00:00:00Z"),
        (Fault::TlsWrongName, "the certificate is not for 127.0.0.1 but for"),
        (Fault::TlsStranger, "signed by nobody who is trusted"),
        (Fault::TlsIncompleteChain, "sends 1 certificates, and the last one is signed by CN=between"),
        (Fault::TlsWrongAlpn, "h2 was agreed on, and a request by it fails"),
        (Fault::TlsPlainAsWell, "does not lead to https://"),
    ] {
        let outcome = judge(&Server::secured(fault), &["--only", "tls"]);
        let figure = figure(&outcome);
        assert!(outcome.code == 1 && figure.contains(part), "{fault:?}: {figure}");
    }
}

#[test]
fn who_is_not_trusted_is_judged_by_one_check_alone_unless_told_otherwise() {
    let server = Server::secured(Fault::TlsExpired);
    let outcome = judge(&server, &["--only", "availability,tls"]);
    assert_eq!((outcome.of("availability"), outcome.of("tls")), ("inconclusive".into(), "failed".into()));
    let outcome = judge(&server, &["--only", "availability,tls", "--insecure"]);
    assert_eq!((outcome.of("availability"), outcome.of("tls")), ("passed".into(), "failed".into()));
    let outcome = judge(&server, &["--only", "availability"]);
    assert_eq!(outcome.code, 3);
    assert!(
        outcome.stderr.contains("has expired on 2020") && outcome.stderr.contains("--insecure"),
        "{outcome:?}"
    );
    assert_eq!(outcome.stderr.lines().count(), 1);
}

#[test]
fn the_real_balancer_passes_over_tls_by_both_versions_of_http() {
    let directory = tempfile::tempdir().unwrap();
    let [cert, key] =
        ["cert.pem", "key.pem"].map(|name| directory.path().join(name).to_str().unwrap().to_owned());
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let cluster = Cluster::start(&["--workers", "2", "--tls-cert", &cert, "--tls-key", &key]);
    let url = format!("https://{}", cluster.address);
    for more in [&[][..], &["--http2"]] {
        let all = [
            "--url",
            &url,
            "--cacert",
            &cert,
            "--wait",
            "30s",
            "--format",
            "json",
            "--skip",
            "leaks,balance,expiry",
        ];
        let outcome = verify(&[&all[..], more].concat());
        assert_eq!(outcome.code, 0, "{outcome:?}");
        assert!(figure(&outcome).contains("h2 and http/1.1 by ALPN"), "{}", figure(&outcome));
    }
}

#[test]
fn the_real_balancer_passes_on_a_unix_socket() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("unix:{}", directory.path().join("app.sock").display());
    let _cluster = Cluster::start(&["--workers", "2", "--listen", &format!("127.0.0.1:0,{url}")]);
    let outcome =
        verify(&["--url", &url, "--wait", "30s", "--format", "json", "--skip", "leaks,balance,expiry"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert_eq!(outcome.json()["target"]["url"], url);
}

#[test]
fn a_private_cluster_is_judged_over_tls_as_well() {
    let outcome = verify(&["--spawn", "--workers", "2", "--only", "tls", "--format", "json"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let figure = figure(&outcome);
    for part in ["h2 and http/1.1 by ALPN", "HSTS is on (max-age=31536000)", "leads to HTTPS (301)"] {
        assert!(figure.contains(part), "{part}: {figure}");
    }
}
