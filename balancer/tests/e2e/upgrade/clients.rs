//! Clients of all kinds over an upgrade: HTTP/2, TLS, and connections that carry something else.

use std::io::{Read, Write};
use std::slice::from_ref;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use super::{Last, primary, stop, upgrade};
use crate::drains::{open, realtime, to_its_end};
use crate::harness::{Balancer, eventually};
use crate::http2::Clients;
use crate::tls::client::{ask, connect, trusting, write_pair};

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn clients_of_http_2_are_asked_to_leave_and_lose_no_request() {
    let mut cluster = Balancer::cluster(2).with(&["--http2", "on"]).start_ready();
    let mut last = Last::none();
    let clients = Clients::start(&cluster, "/cluster/info");
    let at_work = || {
        let requests = |worker: &serde_json::Value| worker["requests"].as_u64();
        (cluster.workers().iter().filter_map(requests).sum::<u64>() > 100).then_some(())
    };
    eventually("they are at work", at_work);
    upgrade(&cluster, &mut last, &[], &[]);
    eventually("they are at work at the successor", at_work);
    let pid = upgrade(&cluster, &mut last, &[], &[]);
    eventually("they are at work at the second one", at_work);
    let result = clients.stop();
    assert_eq!(result["wrong"].as_array().map(Vec::len), Some(0), "{result}");
    assert_eq!(result["refused"], 0, "{result}");
    assert!(result["connections"].as_u64() >= Some(9), "each has come anew twice: {result}");
    assert!(cluster.wait().success());
    stop(&cluster, pid);
}

#[test]
fn handshakes_and_requests_over_tls_go_on() {
    let certificates = tempfile::tempdir().unwrap();
    let own = write_pair(certificates.path(), "a.pem", &["a.test"]);
    let cluster = crate::tls::cluster(certificates.path(), &[]);
    let mut last = Last::none();
    let (is_over, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    let config = trusting(from_ref(&own));
    let pid = thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let mut session = connect(cluster.address, &config, "a.test").unwrap();
                    let answer = ask(&mut session, "/cluster/info").unwrap();
                    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut pid = 0;
        for _ in 0..3 {
            pid = upgrade(&cluster, &mut last, &[], &[]);
            let before = served.load(Ordering::Relaxed);
            eventually("more is served", || (served.load(Ordering::Relaxed) > before + 10).then_some(()));
        }
        is_over.store(true, Ordering::Relaxed);
        pid
    });
    stop(&cluster, pid);
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn an_upgraded_connection_goes_on_with_the_old_one_until_its_time_is_over() {
    let mut cluster = realtime(1, &["--stop-timeout", "4s"]).start_ready();
    let mut last = Last::none();
    let request = "GET /up HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
    let mut stream = open(&cluster, request);
    let pid = upgrade(&cluster, &mut last, &[], &[]);
    assert_eq!(primary(&cluster), u64::from(pid));
    // The program sends back what it gets.
    stream.write_all(b"still here?").unwrap();
    let mut echo = [0; 11];
    stream.read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"still here?");
    let (rest, _) = to_its_end(stream, Instant::now());
    assert_eq!(rest, "", "it is closed in the end");
    assert!(cluster.wait().success());
    // A client that comes back finds the new one.
    drop(open(&cluster, request));
    stop(&cluster, pid);
}
