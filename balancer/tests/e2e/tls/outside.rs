//! What clients by others make of it.

use std::process::{Command, Stdio};

use super::client::write_pair;
use super::cluster;
use crate::harness::Cluster;

/// Runs a program to its end; returns whether it succeeded, and all that it said.
fn run(program: &str, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

fn s_client(cluster: &Cluster, arguments: &[&str]) -> (bool, String) {
    let address = cluster.address.to_string();
    run("openssl", &[&["s_client", "-connect", &address, "-servername", "a.test"], arguments].concat())
}

#[test]
#[ignore = "needs openssl and curl: bash .ci/setup"]
fn openssl_finds_the_versions_and_the_protocol() {
    let certificates = tempfile::tempdir().unwrap();
    write_pair(certificates.path(), "a.pem", &["a.test"]);
    let cluster = cluster(certificates.path(), &[]);
    for (version, name) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let (ok, text) = s_client(&cluster, &[version, "-alpn", "http/1.1"]);
        assert!(ok && text.contains(name) && text.contains("ALPN protocol: http/1.1"), "{text}");
    }
    for version in ["-tls1", "-tls1_1"] {
        let (ok, text) = s_client(&cluster, &[version, "-cipher", "DEFAULT@SECLEVEL=0"]);
        assert!(!ok && text.contains(" alert "), "{text}");
    }
    let (ok, text) = s_client(&cluster, &["-alpn", "spdy/3"]);
    assert!(!ok && text.contains("no application protocol"), "{text}");
    assert_eq!(cluster.metric("tls_handshakes_total{result=\"version\"}"), 2);
    assert_eq!(cluster.metric("tls_handshakes_total{result=\"alpn\"}"), 1);
}

#[test]
#[ignore = "needs openssl and curl: bash .ci/setup"]
fn curl_is_served_and_needs_a_certificate_where_clients_do() {
    let (certificates, clients) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write_pair(certificates.path(), "a.pem", &["a.test"]);
    write_pair(clients.path(), "client.pem", &["client"]);
    let (server, client) = (certificates.path().join("a.pem"), clients.path().join("client.pem"));
    let (server, client) = (server.to_str().unwrap(), client.to_str().unwrap());
    let curl = |cluster: &Cluster, options: &[&str]| {
        let resolve = format!("a.test:{}:127.0.0.1", cluster.address.port());
        let url = format!("https://a.test:{}/cluster/info", cluster.address.port());
        let fixed = ["-sS", "--fail", "--http1.1", "--cacert", server, "--resolve", &resolve, &url];
        run("curl", &[&fixed, options].concat())
    };
    let open = cluster(certificates.path(), &[]);
    let (ok, text) = curl(&open, &[]);
    assert!(ok && text.contains("\"worker\""), "{text}");
    let closed = cluster(certificates.path(), &["--tls-client-ca", client]);
    let (ok, text) = curl(&closed, &[]);
    assert!(!ok, "{text}");
    let (ok, text) = curl(&closed, &["--cert", client]);
    assert!(ok, "{text}");
    assert_eq!(closed.metric("tls_handshakes_total{result=\"client-certificate\"}"), 1);
}
