//! `balancer healthcheck`: who is asked.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use shared_testkit::server::Server;

use super::{ask, port, text};
use crate::harness::Balancer;

/// A program that has no /health.
fn without_health(options: &[&str]) -> Balancer {
    let script = "require('http').createServer((_, answer) => { answer.statusCode = 404; answer.end('no'); })\
                  .listen(process.env.PORT, process.env.HOST)";
    let balancer = Balancer::cluster(1).with(&["--health-path", "tcp"]).with(options);
    balancer.env("PATH", &std::env::var("PATH").unwrap()).with(&["--", "node", "-e", script])
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn the_health_check_asks_the_cluster_and_not_its_program() {
    let cluster = without_health(&[]).start_ready();
    assert_eq!(cluster.get("/health").status, 404);
    let (port, directory) = (port(&cluster), cluster.directory().to_owned());
    let admin = cluster.admin.unwrap().to_string();
    let found = ask(&["healthcheck"], &[("PORT", &port), ("TMPDIR", text(&directory))]);
    assert!(found.code == 0 && found.out.contains(r#""online":1"#), "{}", found.out);
    let flag = ask(&["healthcheck", "--port", &port], &[]);
    assert_eq!(flag.code, 0, "as it is found elsewhere: {}", flag.out);
    // A socket that cannot be found: the admin listener has the same view.
    let hidden = [("CLUSTER_CONTROL", "/nonexistent/control.sock"), ("PORT", &port)];
    let by_admin = ask(&["healthcheck"], &[&hidden[..], &[("CLUSTER_ADMIN", &admin)]].concat());
    assert!(by_admin.code == 0 && by_admin.out.contains(r#""online":1"#), "{}", by_admin.out);
    // Neither: what serves on the port is all there is to ask.
    let by_port = ask(&["healthcheck"], &[&hidden[..], &[("CLUSTER_ADMIN", "off")]].concat());
    assert!(by_port.code == 1 && by_port.out.starts_with("404 no"), "{}", by_port.out);
    let url = format!("http://{}/health", cluster.address);
    assert_eq!(ask(&["healthcheck", "--url", &url], &[("PORT", &port)]).code, 1, "exactly that was asked");
}

#[test]
fn the_health_check_fails_when_no_worker_is_ready_or_the_cluster_stands_still() {
    let cluster = Balancer::cluster(1).with(&["--startup-timeout", "60s", "--", "sleep", "60"]);
    let path = std::env::var("PATH").unwrap();
    let cluster = cluster.env("PATH", &path).start();
    let variables = [("PORT", &*port(&cluster)), ("TMPDIR", text(cluster.directory()))];
    let starting = ask(&["healthcheck"], &variables);
    assert!(
        starting.code == 1 && starting.out.starts_with(r#"503 {"status":"unavailable""#),
        "{}",
        starting.out
    );
    cluster.signal(Signal::STOP);
    let begun = Instant::now();
    let hung = ask(&["healthcheck"], &variables);
    assert!(hung.code == 1 && hung.out.contains("gave no answer"), "{}", hung.out);
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    cluster.signal(Signal::CONT);
}

#[test]
fn who_has_the_address_of_the_admin_listener_is_not_taken_for_one() {
    let cluster = Balancer::cluster(1).with(&["--admin", "off"]).start_ready();
    let other = Server::answering(|_| shared_testkit::server::ok("ok"));
    let variables = [
        ("CLUSTER_CONTROL", "/nonexistent/control.sock"),
        ("PORT", &*port(&cluster)),
        ("CLUSTER_ADMIN", &other.address().to_string()),
    ];
    let found = ask(&["healthcheck"], &variables);
    assert!(found.code == 0 && found.out.contains("desired"), "the port was asked: {}", found.out);
}
