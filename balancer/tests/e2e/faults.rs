//! Faults of real programs, as an operator finds them: in the log, in the metrics and in
//! the access log. The crate of the request path has the whole table of them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Balancer, Cluster, Connection, DEADLINE, eventually};

fn faulty(options: &[&str]) -> Cluster {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/programs/faulty.js");
    Balancer::cluster(1)
        .with(&["--access-log", "access.log", "--access-log-format", "json", "--health-path", "tcp"])
        .with(options)
        .with(&["--", "node", script])
        .env("PATH", &std::env::var("PATH").unwrap())
        .start_ready()
}

/// All that comes in answer to a POST, until the connection ends.
fn ask(cluster: &Cluster, path: &str) -> String {
    let mut stream = TcpStream::connect(cluster.address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let request =
        format!("POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// The line of the access log about `path`.
fn access_line(cluster: &Cluster, path: &str) -> Value {
    let file = cluster.directory().join("access.log");
    eventually("it is in the access log", || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let mut lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.rfind(|line| line["request"].as_str().is_some_and(|request| request.contains(path)))
    })
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn every_fault_is_said_counted_and_marked() {
    let cluster = faulty(&["--response-timeout", "400ms"]);
    let pid = cluster.worker_pids()[0];
    for (path, status, fault, reason) in [
        ("/close", 502, "closed", "closed the connection before it had answered"),
        ("/reset", 502, "reset", "broke the connection before it had answered"),
        ("/slow", 504, "response-timeout", "within 400ms (--response-timeout)"),
        ("/malformed", 502, "invalid-response", "Content-Length is not one whole number"),
        ("/cut", 200, "truncated", "closed the connection within its response"),
        ("/pause", 200, "truncated-timeout", "within 400ms (--response-timeout)"),
    ] {
        let answer = ask(&cluster, path);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
        assert!(!answer.contains("--response-timeout") && !answer.contains("whole number"), "{answer}");
        let said = cluster.fault(fault);
        assert_eq!(
            (&said["level"], &said["method"], &said["path"]),
            (&json!("WARN"), &json!("POST"), &json!(path)),
            "{said}"
        );
        assert_eq!((&said["worker"], &said["pid"]), (&json!("1"), &json!(pid)), "{said}");
        assert!(said["message"].as_str().unwrap().contains(reason), "{said}");
        let line = access_line(&cluster, path);
        assert_eq!((&line["status"], &line["fault"]), (&json!(status), &json!(fault)), "{line}");
        let name = format!("worker_faults_total{{worker=\"1\",fault=\"{fault}\"}}");
        assert_eq!(cluster.metric(&name), 1, "{path}");
    }
    assert!(ask(&cluster, "/die").starts_with("HTTP/1.1 502 "));
    let died = access_line(&cluster, "/die")["fault"].as_str().unwrap().to_owned();
    assert!(["closed", "reset"].contains(&died.as_str()), "{died}");
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn an_event_stream_outlasts_the_response_timeout() {
    let cluster = faulty(&["--response-timeout", "300ms"]);
    let mut client = TcpStream::connect(cluster.address).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    client.write_all(b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let (start, mut seen) = (Instant::now(), String::new());
    while !seen.contains("data: 2") {
        let mut bytes = [0; 1024];
        let count = client.read(&mut bytes).unwrap();
        assert!(count > 0, "it was cut: {seen}");
        seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    assert!(start.elapsed() > Duration::from_secs(1));
    assert_eq!(cluster.metric("worker_faults_total{worker=\"1\",fault=\"truncated-timeout\"}"), 0);
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn upgraded_connections_have_a_limit_of_their_own() {
    let cluster = faulty(&["--max-tunnels", "1", "--max-concurrency", "1"]);
    let upgrade = || {
        let mut connection = Connection::open(cluster.address).unwrap();
        connection.send("GET", "/tunnel", &[("connection", "upgrade"), ("upgrade", "x")], b"").unwrap();
        let answer = connection.receive(false).unwrap();
        (connection, answer)
    };
    let (_open, answer) = upgrade();
    assert_eq!(answer.status, 101);
    assert_eq!(cluster.metric("worker_tunnels{worker=\"1\"}"), 1);
    assert_eq!(cluster.get("/").status, 200, "it has given its place back");
    let (_, refused) = upgrade();
    assert_eq!(refused.header("retry-after"), Some("1"));
    refused.problem(503);
    assert_eq!(cluster.metric("rejections_total{reason=\"max-tunnels\"}"), 1);
    let said = cluster.fault("max-tunnels");
    assert!(said["message"].as_str().unwrap().contains("--max-tunnels"), "{said}");
}
