//! Certificates by ACME, from a real server (Pebble), which looks at the cluster's own
//! listeners: the first one, a restart, renewal, failure.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use rustix::process::Signal;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;

use crate::harness::{Balancer, Cluster, eventually};
use crate::tls::client::{ask, connect, leaf, trusting, write_pair};

/// An ACME server, a resolver that leads all names to one address of this machine, and a
/// directory for what clusters keep.
struct Pebble {
    /// The server and the resolver, unless they were ended.
    running: Vec<Child>,
    directory: tempfile::TempDir,
    address: String,
    /// The first of the ports that are this server's.
    port: u16,
}

impl Pebble {
    /// Its certificates are valid for `life` seconds.
    fn start(life: u64) -> Self {
        // Its ports have to be known before anything listens: each process has an address of
        // the loopback network, and each server has ports of it.
        static NEXT: AtomicU16 = AtomicU16::new(20_000);
        let port = NEXT.fetch_add(10, Ordering::Relaxed);
        let pid = std::process::id();
        let address = format!("127.{}.{}.{}", 64 + (pid >> 16) % 64, (pid >> 8) % 256, pid % 256);
        let directory = tempfile::tempdir().unwrap();
        write_pair(directory.path(), "server.pem", &[&address]);
        let server = directory.path().join("server.pem");
        let config = json!({"pebble": {
            "listenAddress": format!("{address}:{port}"),
            "managementListenAddress": format!("{address}:{}", port + 1),
            "certificate": server,
            "privateKey": server,
            "httpPort": port + 2,
            "tlsPort": port + 3,
            "certificateValidityPeriod": life,
        }});
        fs::write(directory.path().join("config.json"), config.to_string()).unwrap();
        let resolver = format!("{address}:{}", port + 4);
        let mut pebble = Self { running: vec![], directory, address: address.clone(), port };
        let management = format!("{address}:{}", port + 5);
        let resolving = ["-dns01", &resolver, "-management", &management, "-defaultIPv4", &address];
        let others = ["-defaultIPv6", "", "-http01", "", "-https01", "", "-tlsalpn01", ""];
        pebble.run("pebble-challtestsrv", &[&resolving[..], &others].concat());
        pebble.listens(port + 4);
        pebble.run("pebble", &["-config", "config.json", "-dnsserver", &resolver]);
        pebble.listens(port);
        pebble
    }

    fn run(&mut self, program: &str, arguments: &[&str]) {
        let started = Command::new(program)
            .args(arguments)
            .current_dir(self.directory.path())
            .env("PEBBLE_VA_NOSLEEP", "1")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.running.push(started.expect("this test needs pebble: apt-get install pebble"));
    }

    fn listens(&self, port: u16) {
        let address: SocketAddr = format!("{}:{port}", self.address).parse().unwrap();
        eventually("the server listens", || TcpStream::connect(address).ok());
    }

    fn end(&mut self) {
        for child in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
        self.running.clear();
    }

    fn cluster(&self, domains: &str, redirects: bool) -> Balancer {
        let (http, https) = (self.port + 2, self.port + 3);
        let listen = format!("https://{}:{https}", self.address);
        let url = format!("https://{}:{}/dir", self.address, self.port);
        let (ca, state) = (self.directory.path().join("server.pem"), self.directory.path().join("state"));
        let options = ["--workers", "1", "--admin", "127.0.0.1:0", "--listen", &listen];
        let balancer = Balancer::new(&options).with(&["--acme-domain", domains, "--acme-directory", &url]);
        let balancer = balancer.with(&["--acme-ca", ca.to_str().unwrap()]);
        let balancer = balancer.with(&["--acme-dir", state.to_str().unwrap()]);
        let redirect = format!("{}:{http}", self.address);
        if redirects { balancer.with(&["--http-redirect", &redirect]) } else { balancer }
    }

    /// Where what belongs to this server is kept.
    fn kept(&self, file: &str) -> PathBuf {
        let server = format!("{}_{}_dir", self.address, self.port);
        self.directory.path().join("state").join(server).join(file)
    }

    /// The certificate that is kept for `domain`, with its chain.
    fn chain(&self, domain: &str) -> Vec<CertificateDer<'static>> {
        let text = fs::read(self.kept(&format!("{domain}.pem"))).unwrap();
        CertificateDer::pem_slice_iter(&text).collect::<Result<_, _>>().unwrap()
    }

    /// What a client gets that trusts the server's authority.
    fn served(&self, cluster: &Cluster, domain: &str) -> CertificateDer<'static> {
        let chain = self.chain(domain);
        let mut session = connect(cluster.address, &trusting(&chain[1..2]), domain).unwrap();
        assert!(ask(&mut session, "/health").unwrap().starts_with("HTTP/1.1 200 "));
        leaf(&session)
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        self.end();
    }
}

fn issued(cluster: &Cluster, count: u64) {
    eventually("certificates are issued", || (cluster.metric("acme_issued_total") >= count).then_some(()));
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
#[ignore = "needs pebble: bash .ci/setup"]
fn a_certificate_is_had_by_a_handshake_and_nothing_is_ordered_by_the_next_start() {
    let mut pebble = Pebble::start(3_600);
    let mut cluster = pebble.cluster("a.test", false).start_ready();
    issued(&cluster, 1);
    assert!(cluster.metric("tls_handshakes_total{result=\"acme-challenge\"}") > 0);
    let first = pebble.served(&cluster, "a.test");
    assert_eq!(first, pebble.chain("a.test")[0]);
    for file in ["a.test.pem", "account.json", "lock"] {
        assert_eq!(mode(&pebble.kept(file)), 0o600, "{file}");
    }
    assert_eq!(mode(&pebble.kept("")), 0o700);
    let (_, out, _) = cluster.operate(&["status"]);
    assert!(out.contains("the certificate for a.test"), "{out}");
    cluster.signal(Signal::TERM);
    assert!(cluster.wait().success());
    drop(cluster);

    // There is no server to ask any more.
    pebble.end();
    let cluster = pebble.cluster("a.test", false).start_ready();
    assert_eq!(pebble.served(&cluster, "a.test"), first);
    assert!(cluster.log().iter().any(|line| line.contains("a certificate that was kept is used")));
    eventually("the renewal is planned", || {
        cluster.admin("/metrics").text().contains("balancer_acme_next_order_seconds ").then_some(())
    });
    assert_eq!((cluster.metric("acme_issued_total"), cluster.metric("acme_failures_total")), (0, 0));
}

#[test]
#[ignore = "needs pebble: bash .ci/setup"]
fn certificates_are_had_by_requests_and_one_that_is_not_had_holds_up_no_other() {
    let pebble = Pebble::start(3_600);
    let cluster = pebble.cluster("a.test,b.test", true).start_ready();
    issued(&cluster, 2);
    assert_eq!(cluster.metric("tls_handshakes_total{result=\"acme-challenge\"}"), 0);
    for domain in ["a.test", "b.test"] {
        assert_eq!(pebble.served(&cluster, domain), pebble.chain(domain)[0]);
    }
    drop(cluster);

    // Port 80 leads here no more.
    let http = "127.0.0.1:0";
    let elsewhere = pebble.cluster("c.test,a.test", false).with(&["--http-redirect", http]);
    let cluster = elsewhere.start_ready();
    let warning = eventually("the failure is said", || {
        cluster.events().into_iter().find(|event| event["level"] == "WARN" && event["domain"] == "c.test")
    });
    let text = warning["message"].as_str().unwrap();
    assert!(text.contains("c.test was not validated by HTTP-01: "), "{text}");
    assert!(text.contains("connection refused") || text.contains("(connection)"), "{text}");
    assert!(text.contains("the next attempt comes in 3"), "{text}");
    assert_eq!(cluster.metric("acme_failures_total"), 1);
    let events = cluster.admin("/events").text();
    assert!(events.contains("certificate") && events.contains("c.test was not validated"), "{events}");
    drop(cluster);

    // It is not asked again at once by the next start.
    let cluster = pebble.cluster("c.test,a.test", false).start_ready();
    let text = eventually("the wait is said", || {
        let mut events = cluster.events().into_iter().filter(|event| event["domain"] == "c.test");
        Some(events.find_map(|event| {
            Some(event["message"].as_str()?.to_owned()).filter(|text| text.contains("failed.json"))
        })?)
    });
    assert!(text.contains("c.test was not validated") && text.contains("the next one comes in"), "{text}");
    assert_eq!(cluster.metric("acme_failures_total"), 0);
    assert_eq!(pebble.served(&cluster, "a.test"), pebble.chain("a.test")[0]);
}

#[test]
#[ignore = "needs pebble: bash .ci/setup"]
fn a_certificate_is_renewed_in_time_and_stays_when_it_cannot_be() {
    let mut pebble = Pebble::start(15);
    let cluster = pebble.cluster("a.test", false).start_ready();
    issued(&cluster, 1);
    let first = pebble.served(&cluster, "a.test");
    issued(&cluster, 2);
    let second = pebble.served(&cluster, "a.test");
    assert_ne!(first, second);
    pebble.end();
    eventually("the failure is counted", || (cluster.metric("acme_failures_total") == 1).then_some(()));
    assert!(cluster.log().iter().any(|line| line.contains("no certificate was issued: could not ask")));
    // It is as of the last renewal, of which there may have been one more.
    assert_eq!(pebble.chain("a.test")[0], pebble.served(&cluster, "a.test"));
}

#[test]
fn there_is_no_certificate_without_a_server_and_the_cluster_serves_all_the_same() {
    let state = tempfile::tempdir().unwrap();
    let options = ["--workers", "1", "--admin", "127.0.0.1:0", "--listen", "https://127.0.0.1:0"];
    let ca = tempfile::tempdir().unwrap();
    let trusted = write_pair(ca.path(), "ca.pem", &["a.test"]);
    let cluster = Balancer::new(&options)
        .with(&["--acme-domain", "a.test", "--acme-directory", "https://127.0.0.1:1/dir"])
        .with(&["--acme-ca", ca.path().join("ca.pem").to_str().unwrap()])
        .with(&["--acme-dir", state.path().to_str().unwrap()])
        .start_ready();
    eventually("the failure is counted", || (cluster.metric("acme_failures_total") == 1).then_some(()));
    assert!(connect(cluster.address, &trusting(&[trusted]), "a.test").is_err());
    assert_eq!(cluster.admin("/health").status, 200);
    let said = cluster.log().iter().any(|line| line.contains("handshakes for it are refused"));
    assert!(said && cluster.log().iter().any(|line| line.contains("could not ask https://127.0.0.1:1/dir")));
}

#[test]
fn check_tells_whether_certificates_can_be_kept_and_makes_nothing() {
    let state = tempfile::tempdir().unwrap();
    let check = |path: &Path| {
        let options =
            ["check", "--workers", "1", "--listen", "https://127.0.0.1:0", "--acme-domain", "a.test"];
        let balancer = Balancer::new(&options).with(&["--admin", "127.0.0.1:0"]);
        let trusted = tempfile::tempdir().unwrap();
        write_pair(trusted.path(), "ca.pem", &["a.test"]);
        let ca = trusted.path().join("ca.pem");
        balancer.with(&["--acme-ca", ca.to_str().unwrap(), "--acme-dir", path.to_str().unwrap()]).output()
    };
    let (code, text) = check(&state.path().join("new"));
    assert!(code == 0 && text.contains("a.test from https://"), "{text}");
    assert_eq!(fs::read_dir(state.path()).unwrap().count(), 0, "it leaves nothing");
    fs::write(state.path().join("file"), "").unwrap();
    let (code, text) = check(&state.path().join("file"));
    assert!(code == 1 && text.contains("is no directory (set --acme-dir or CLUSTER_ACME_DIR)"), "{text}");
    let kept = state.path().join("acme-v02.api.letsencrypt.org_directory");
    fs::create_dir(&kept).unwrap();
    fs::write(kept.join("account.json"), "{}").unwrap();
    fs::set_permissions(kept.join("account.json"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(kept.join("a.test.failed.json"), r#"{"failed":1,"notBefore":99999999999,"reason":"no luck"}"#)
        .unwrap();
    let (code, text) = check(state.path());
    assert!(code == 0 && text.contains("account.json (mode 0644): chmod 600"), "{text}");
    assert!(text.contains("the last attempt for a.test failed: no luck; the next one comes in "), "{text}");
}
