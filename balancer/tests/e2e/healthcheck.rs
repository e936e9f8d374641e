//! `balancer healthcheck`, as a container's engine runs it.

use std::net::TcpListener;

use crate::harness::Balancer;

/// Exit code and what it said, next to a cluster that listens on `port`.
fn ask(arguments: &[&str], port: u16) -> (i32, String) {
    let balancer = Balancer::new(&[&["healthcheck"], arguments].concat());
    balancer.env("PORT", &port.to_string()).env("HOST", "0.0.0.0").output()
}

#[test]
fn a_healthy_cluster_is_one() {
    let cluster = Balancer::cluster(1).start_ready();
    let port = cluster.address.port();
    let (code, text) = ask(&[], port);
    assert!(code == 0 && text.contains("\"status\":\"ok\""), "{code}: {text}");
    let (code, text) = ask(&["--url", &format!("http://127.0.0.1:{port}/no/such/route")], 1);
    assert!(code == 1 && text.starts_with("404 "), "{code}: {text}");
}

#[test]
fn nobody_is_not_healthy_nor_is_who_does_not_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (code, text) = ask(&[], port);
    assert!(code == 1 && text.contains("gave no answer"), "{code}: {text}");
    drop(listener);
    let (code, text) = ask(&[], port);
    assert!(code == 1 && text.contains("nothing answers on"), "{code}: {text}");
}

#[test]
fn wrong_usage_is_told_apart() {
    for arguments in [&["--url", "localhost"][..], &["--urls"]] {
        assert_eq!(ask(arguments, 1).0, 2, "{arguments:?}");
    }
}
