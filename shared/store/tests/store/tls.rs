//! Redis with TLS, whose authority is one's own: a server, Sentinels and what they
//! name, a cluster and what its nodes name.

use std::path::Path;
use std::process::Command;

use shared_testkit::port::ReservedPort;
use tempfile::TempDir;

use super::store_user;
use shared_testkit::redis_group::{JOIN_LIMIT, cli};
use shared_testkit::redis_server::RedisServer;
use shared_testkit::wait_until;

/// What a process says that counts at `url` and knows this authority only.
fn speak(certificates: &TempDir, authority: &str, url: &str) -> String {
    let output = store_user()
        .args(["increment", url])
        .env("SSL_CERT_FILE", certificates.path().join(authority))
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Also listens with TLS on the port that is returned.
fn server(certificates: &TempDir, options: &[&str], configuration: Option<&str>) -> (RedisServer, u16) {
    let reserved = ReservedPort::take().unwrap();
    let port = reserved.number();
    let file = |name: &str| certificates.path().join(name).display().to_string();
    let tls = [
        ("--tls-port", port.to_string()),
        ("--tls-cert-file", file("server.crt")),
        ("--tls-key-file", file("server.key")),
        ("--tls-ca-cert-file", file("ca.crt")),
        ("--tls-auth-clients", "no".to_owned()),
    ];
    let tls: Vec<&str> = tls.iter().flat_map(|(name, value)| [*name, value]).collect();
    let mut server = RedisServer::new(0, &[&tls[..], options].concat());
    if let Some(text) = configuration {
        let file = server.directory.path().join("server.conf");
        std::fs::write(&file, text).unwrap();
        server.configuration = Some(file);
    }
    server.reserved.push(reserved);
    server.run();
    (server, port)
}

#[test]
#[ignore = "needs redis-server and openssl: bash .ci/setup"]
fn with_an_authority_of_ones_own() {
    let certificates = certificates();
    let (_server, port) = server(&certificates, &[], None);
    for (host, count) in [("127.0.0.1", 1), ("localhost", 2)] {
        let said = speak(&certificates, "ca.crt", &format!("rediss://{host}:{port}"));
        assert!(said.contains(&format!("Ok({count})")), "{said}");
    }
    let said = speak(&certificates, "other.crt", &format!("rediss://127.0.0.1:{port}"));
    assert!(said.contains("Unavailable") && said.contains("certificate"), "{said}");
}

#[test]
#[ignore = "needs redis-server and openssl: bash .ci/setup"]
fn sentinels_and_the_master_that_they_name() {
    let certificates = certificates();
    let (_master, port) = server(&certificates, &[], None);
    let configuration = format!("sentinel monitor mymaster 127.0.0.1 {port} 1\n");
    // What a Sentinel says to a master is encrypted as what replicas say is.
    let options = ["--sentinel", "--tls-replication", "yes"];
    let (_sentinel, port) = server(&certificates, &options, Some(&configuration));
    let url = format!("rediss+sentinel://127.0.0.1:{port}/mymaster");
    let said = speak(&certificates, "ca.crt", &url);
    assert!(said.contains("Ok(1)"), "{said}");
    let said = speak(&certificates, "other.crt", &url);
    assert!(said.contains("Unavailable") && said.contains("certificate"), "{said}");
}

#[test]
#[ignore = "needs redis-server and openssl: bash .ci/setup"]
fn a_cluster_and_the_nodes_that_it_names() {
    let certificates = certificates();
    let options = ["--cluster-enabled", "yes", "--cluster-port", "0", "--tls-cluster", "yes"];
    let reserved = ReservedPort::take().unwrap();
    let bus = reserved.number().to_string();
    let (server, port) =
        server(&certificates, &options.map(|option| if option == "0" { &bus } else { option }), None);
    cli(&server, &["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
    let url = format!("rediss+cluster://127.0.0.1:{port}");
    wait_until("the cluster sees that it is complete", JOIN_LIMIT, || {
        cli(&server, &["CLUSTER", "INFO"]).contains("cluster_state:ok")
    });
    let said = speak(&certificates, "ca.crt", &url);
    assert!(said.contains("Ok(1)"), "{said}");
    let said = speak(&certificates, "other.crt", &url);
    assert!(said.contains("Unavailable") && said.contains("certificate"), "{said}");
}

fn certificates() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    make_certificates(directory.path());
    directory
}

/// An authority, a certificate of it for 127.0.0.1, and a stranger's.
fn make_certificates(directory: &Path) {
    let openssl = |words: &[&str]| {
        let output = Command::new("openssl")
            .args(words)
            .current_dir(directory)
            .output()
            .expect("this test needs openssl: apt-get install openssl");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    for name in ["ca", "other"] {
        let (key_file, file, subject) = (format!("{name}.key"), format!("{name}.crt"), format!("/CN={name}"));
        let rest = ["-keyout", &key_file, "-out", &file, "-subj", &subject, "-days", "2"];
        openssl(&[&["req", "-x509"], &key[..], &rest[..]].concat());
    }
    std::fs::write(directory.join("names"), "subjectAltName=IP:127.0.0.1,DNS:localhost\n").unwrap();
    let rest = ["-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=redis"];
    openssl(&[&["req"], &key[..], &rest[..]].concat());
    openssl(&[
        "x509",
        "-req",
        "-in",
        "server.csr",
        "-CA",
        "ca.crt",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-days",
        "2",
        "-extfile",
        "names",
        "-out",
        "server.crt",
    ]);
}
