//! HTTPS: certificates and their exchange, versions, broken handshakes.

#[expect(unreachable_pub, reason = "marks what the sibling modules use, in a crate without outside users")]
pub(super) mod client;
mod outside;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::slice::from_ref;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use rustls::pki_types::CertificateDer;
use rustls::version::TLS12;

use crate::harness::{Balancer, Cluster, eventually};
use client::{ask, connect, is_resumed, leaf, of_version, read_until, trusting, write_pair};

/// A cluster with the certificates of `directory`.
pub(super) fn cluster(directory: &Path, options: &[&str]) -> Cluster {
    let directory = directory.to_str().unwrap();
    Balancer::cluster(2).with(&["--tls-dir", directory]).with(options).start_ready()
}

fn handshakes(cluster: &Cluster, result: &str) -> u64 {
    cluster.metric(&format!("tls_handshakes_total{{result=\"{result}\"}}"))
}

#[test]
fn requests_are_served_over_tls_and_names_choose_certificates() {
    let certificates = tempfile::tempdir().unwrap();
    let (a, b) = (
        write_pair(certificates.path(), "a.pem", &["a.test"]),
        write_pair(certificates.path(), "b.pem", &["*.b.test"]),
    );
    let cluster = cluster(certificates.path(), &[]);
    let both = [a.clone(), b.clone()];
    for (config, name, expected) in [
        (trusting(&both), "a.test", &a),
        (trusting(&both), "www.b.test", &b),
        (of_version(&both, &TLS12), "a.test", &a),
    ] {
        let mut session = connect(cluster.address, &config, name).unwrap();
        assert_eq!(leaf(&session), *expected);
        let answer = ask(&mut session, "/cluster/info").expect("it ends with close_notify");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        // A second one comes with a ticket.
        let session = connect(cluster.address, &config, name).unwrap();
        assert!(is_resumed(&session));
    }
    assert_eq!((handshakes(&cluster, "full"), handshakes(&cluster, "resumed")), (3, 3));
    let unknown = connect(cluster.address, &trusting(&both), "c.test");
    assert!(unknown.is_err(), "the default certificate is not for this name");
    eventually("the alert is counted", || (handshakes(&cluster, "alert") == 1).then_some(()));
    assert!(cluster.log().iter().any(|line| line.contains("listening on https://")));
    let (code, out, err) = cluster.operate(&["status"]);
    assert!(code == 0 && out.contains("on https://") && out.contains("2 certificates"), "{out}{err}");
    let (_, out, _) = cluster.operate(&["status", "--json"]);
    let status: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(status["certificates"][1]["names"][0], "*.b.test", "{out}");
    let metric = format!(
        "tls_certificate_not_after_seconds{{name=\"a.test\",source=\"{}\"}}",
        certificates.path().join("a.pem").display()
    );
    assert_eq!(status["certificates"][0]["notAfter"], cluster.metric(&metric));
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn workers_learn_that_the_client_speaks_https() {
    let certificates = tempfile::tempdir().unwrap();
    let own = write_pair(certificates.path(), "a.pem", &["a.test"]);
    let directory = certificates.path().to_str().unwrap();
    let options = ["--tls-dir", directory, "--strategy", "sticky"];
    let cluster = Balancer::program(1, &options).start_ready();
    let mut session = connect(cluster.address, &trusting(from_ref(&own)), "a.test").unwrap();
    let answer = ask(&mut session, "/headers").unwrap();
    assert!(answer.contains("\"x-forwarded-proto\":\"https\""), "{answer}");
    assert!(answer.contains("; Secure"), "the cookie is for HTTPS only: {answer}");
    let mut session = connect(cluster.address, &trusting(&[own]), "a.test").unwrap();
    let answer = ask(&mut session, "/zeros?mb=8").unwrap();
    assert_eq!(answer.split_once("\r\n\r\n").unwrap().1.len(), 8 << 20, "it comes whole");
}

#[test]
fn plain_http_is_answered_with_what_is_spoken_here() {
    let certificates = tempfile::tempdir().unwrap();
    write_pair(certificates.path(), "a.pem", &["a.test"]);
    let cluster = cluster(certificates.path(), &[]);
    let answer = cluster.get("/cluster/info");
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("this port speaks HTTPS"), "{}", answer.text());
    assert_eq!(handshakes(&cluster, "plain-http"), 1);
}

/// Opens a connection that says `bytes` and then nothing.
fn begin(cluster: &Cluster, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(cluster.address).unwrap();
    stream.write_all(bytes).unwrap();
    stream
}

#[test]
fn handshakes_that_stop_halfway_keep_nobody_else_and_end_in_time() {
    let certificates = tempfile::tempdir().unwrap();
    let own = write_pair(certificates.path(), "a.pem", &["a.test"]);
    let cluster = cluster(certificates.path(), &["--head-timeout", "3s", "--max-connections", "600"]);
    // The beginning of a record of a handshake that has 512 bytes.
    let beginnings: [&[u8]; 3] = [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"];
    let halves: Vec<_> = (0..500).map(|index| begin(&cluster, beginnings[index % 3])).collect();
    for _ in 0..20 {
        let mut session = connect(cluster.address, &trusting(from_ref(&own)), "a.test").unwrap();
        assert!(ask(&mut session, "/cluster/info").unwrap().contains(" 200 "));
    }
    eventually("all are over", || (handshakes(&cluster, "timeout") == 500).then_some(()));
    for mut stream in halves {
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        assert!(matches!(stream.read(&mut [0]), Ok(0)), "the connection is closed");
    }
    // The permits are back.
    let sessions: Vec<_> =
        (0..200).map(|_| connect(cluster.address, &trusting(from_ref(&own)), "a.test").unwrap()).collect();
    assert_eq!(sessions.len(), 200);
}

#[test]
fn what_is_no_handshake_is_answered_with_an_alert_and_counted() {
    let certificates = tempfile::tempdir().unwrap();
    write_pair(certificates.path(), "a.pem", &["a.test"]);
    let cluster = cluster(certificates.path(), &[]);
    // An unknown type, a record that is too long, a message that is no ClientHello, an alert.
    for (bytes, result) in [
        (&b"\x00\x01\x02\x03\x04\x05\x06"[..], "invalid"),
        (b"\x16\x03\x01\xff\xff", "invalid"),
        (b"\x16\x03\x01\x00\x04\x02\x00\x00\x00", "invalid"),
        (b"\x15\x03\x01\x00\x02\x02\x28", "alert"),
    ] {
        let before = handshakes(&cluster, result);
        let mut stream = begin(&cluster, bytes);
        let mut answer = Vec::new();
        // It may be reset, as not all that was sent is read.
        let _ = stream.read_to_end(&mut answer);
        eventually("it is counted", || (handshakes(&cluster, result) == before + 1).then_some(()));
        assert!(result == "alert" || answer.first() == Some(&21), "{answer:?}");
    }
    drop(begin(&cluster, b"\x16\x03"));
    eventually("it is counted", || (handshakes(&cluster, "closed") >= 1).then_some(()));
}

/// Handshakes without a pause, each of which must succeed with a certificate that is or was
/// the newest while it went on.
struct Handshakes {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    threads: Vec<thread::JoinHandle<()>>,
}

/// All certificates so far.
type Written = Arc<Mutex<Vec<CertificateDer<'static>>>>;

impl Handshakes {
    fn start(cluster: &Cluster, written: &Written) -> Self {
        let (stop, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let threads = (0..4).map(|_| {
            let (stop, done, written) = (Arc::clone(&stop), Arc::clone(&done), Arc::clone(written));
            let address = cluster.address;
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let oldest = written.lock().unwrap().len() - 1;
                    // Its reload may not have returned.
                    let oldest = oldest.saturating_sub(1);
                    let trusted = || written.lock().unwrap()[oldest..].to_vec();
                    let mut config = trusting(&trusted());
                    // One that is written now is trusted as well.
                    let session = connect(address, &config, "a.test").or_else(|_| {
                        config = trusting(&trusted());
                        connect(address, &config, "a.test")
                    });
                    let answer = ask(&mut session.unwrap(), "/cluster/info").unwrap();
                    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        let threads = threads.collect();
        Self { stop, done, threads }
    }

    fn finish(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
        self.done.load(Ordering::Relaxed)
    }
}

#[test]
fn certificates_are_exchanged_under_handshakes_and_the_next_one_has_the_newest() {
    let certificates = tempfile::tempdir().unwrap();
    let first = write_pair(certificates.path(), "a.pem", &["a.test"]);
    let cluster = cluster(certificates.path(), &[]);
    let written: Written = Arc::new(Mutex::new(vec![first]));
    let load = Handshakes::start(&cluster, &written);
    for _ in 0..10 {
        // Locked, so that nobody is shown a certificate that it does not know.
        let newest = {
            let mut written = written.lock().unwrap();
            written.push(write_pair(certificates.path(), "a.pem", &["a.test"]));
            written.last().unwrap().clone()
        };
        let (code, out, err) = cluster.operate(&["reload"]);
        assert_eq!(code, 0, "{out}{err}");
        let session = connect(cluster.address, &trusting(from_ref(&newest)), "a.test").unwrap();
        assert_eq!(leaf(&session), newest);
    }
    assert!(load.finish() > 0);
}

#[test]
fn a_broken_pair_is_refused_by_a_reload_and_the_one_before_stays() {
    let certificates = tempfile::tempdir().unwrap();
    let own = write_pair(certificates.path(), "a.pem", &["a.test"]);
    let cluster = cluster(certificates.path(), &[]);
    fs::write(certificates.path().join("a.pem"), "broken").unwrap();
    let (code, out, err) = cluster.operate(&["reload"]);
    let told = format!("{out}{err}");
    assert!(code == 0 && told.contains("warning: ") && told.contains("a.pem"), "{told}");
    assert!(cluster.log().iter().any(|line| line.contains("a certificate was refused")));
    assert!(connect(cluster.address, &trusting(&[own]), "a.test").is_ok());
    // SIGHUP reads it again as well.
    let newest = write_pair(certificates.path(), "a.pem", &["a.test"]);
    cluster.signal(Signal::HUP);
    eventually("it is used", || connect(cluster.address, &trusting(from_ref(&newest)), "a.test").ok());
}

#[test]
fn files_that_have_changed_are_used_without_a_reload() {
    let certificates = tempfile::tempdir().unwrap();
    write_pair(certificates.path(), "a.pem", &["a.test"]);
    let cluster = cluster(certificates.path(), &[]);
    let newest = write_pair(certificates.path(), "a.pem", &["a.test"]);
    eventually("it is used", || connect(cluster.address, &trusting(from_ref(&newest)), "a.test").ok());
    assert_eq!(cluster.metric("reloads_total{outcome=\"done\"}"), 0);
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn tunnels_go_through_tls_both_ways_and_end_with_close_notify() {
    let certificates = tempfile::tempdir().unwrap();
    let own = write_pair(certificates.path(), "a.pem", &["a.test"]);
    let directory = certificates.path().to_str().unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/programs/echo.js");
    let balancer =
        Balancer::cluster(1).with(&["--tls-dir", directory, "--health-path", "/", "--", "node", script]);
    let cluster = balancer.env("PATH", &std::env::var("PATH").unwrap()).start_ready();
    let mut session = connect(cluster.address, &trusting(&[own]), "a.test").unwrap();
    let request = "GET /echo HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
    session.write_all(request.as_bytes()).unwrap();
    assert!(read_until(&mut session, "\r\n\r\n").starts_with("HTTP/1.1 101 "));
    let part = vec![b'x'; 100_000];
    session.write_all(&part).unwrap();
    let mut echoed = vec![0; part.len()];
    session.read_exact(&mut echoed).unwrap();
    assert_eq!(echoed, part);
    session.conn.send_close_notify();
    session.flush().unwrap();
    let mut rest = Vec::new();
    session.read_to_end(&mut rest).expect("it ends with close_notify");
}

#[test]
fn what_cannot_be_used_ends_the_start_with_the_reason() {
    let certificates = tempfile::tempdir().unwrap();
    let path = certificates.path().join("a.pem");
    let at = path.to_str().unwrap();
    let refused = |options: &[&str], words: &str| {
        let (code, text) = Balancer::cluster(1).with(options).output();
        assert!(code != 0 && text.contains(words), "{words}: {text}");
    };
    refused(&["--tls-cert", at], "could not read");
    refused(&["--tls-dir", certificates.path().to_str().unwrap()], "no certificate in it");
    refused(&["--tls-cert", at, "--tls-key", at, "--tls-key", at], "1 certificates and 2 keys");
    refused(&["--tls-client-ca", at], "needs a certificate");
    write_pair(certificates.path(), "a.pem", &["a.test"]);
    write_pair(certificates.path(), "b.pem", &["a.test"]);
    let other = certificates.path().join("b.pem");
    refused(&["--tls-cert", at, "--tls-key", other.to_str().unwrap()], "does not belong to the certificate");
    let (code, text) = Balancer::new(&["check", "--port", "0", "--workers", "1", "--tls-cert", at]).output();
    assert!(code == 0 && text.contains("TLS: ") && text.contains("for a.test expires in"), "{text}");
    fs::write(&path, "broken").unwrap();
    let (code, text) = Balancer::new(&["check", "--port", "0", "--workers", "1", "--tls-cert", at]).output();
    assert!(code == 1 && text.contains("obstacle  TLS: "), "{text}");
}
