//! Clients that speak HTTP/2 as people have them: curl, nghttp2's tools and Node.

use std::io::Write;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;
use shared_testkit::connection::{read_all, status};

use crate::harness::{Balancer, Cluster, eventually, is_alive, send_signal};

const ON: [&str; 2] = ["--http2", "on"];

fn output(command: &mut Command) -> (String, String) {
    let output = command.output().expect("it is installed (see .ci/setup)");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let (out, err) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success(), "{out}{err}");
    (out, err)
}

fn url(cluster: &Cluster, path: &str) -> String {
    format!("http://{}{path}", cluster.address)
}

fn curl(cluster: &Cluster, path: &str, arguments: &[&str]) -> (String, String) {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--verbose", "--max-time", "20", "--http2-prior-knowledge"]);
    output(curl.args(arguments).arg(url(cluster, path)))
}

#[test]
#[ignore = "needs curl: bash .ci/setup"]
fn curl_gets_what_http_1_gets() {
    let cluster = Balancer::cluster(1).with(&ON).with(&["--access-log", "access.log"]).start_ready();
    let (body, said) =
        curl(&cluster, "/cluster/info", &["--header", "x-request-id: mine", "--user-agent", "it"]);
    assert!(body.contains("\"requestCount\""), "{body}");
    for line in ["HTTP/2 200", "x-worker-id: 1", "x-request-id: mine"] {
        assert!(said.contains(line), "{said}");
    }
    assert!(!said.to_ascii_lowercase().contains("< connection:"), "{said}");
    // Of the balancer's own, of a worker, and one that the balancer refuses.
    assert!(curl(&cluster, "/health", &[]).0.contains("\"status\":\"ok\""));
    assert!(curl(&cluster, "/nowhere", &[]).1.contains("content-type: application/problem+json"));
    assert!(curl(&cluster, "/health", &["--request", "TRACE"]).1.contains("HTTP/2 405"));
    assert!(curl(&cluster, "/cluster/info", &["--head"]).1.contains("HTTP/2 200"));
    let json = ["--header", "content-type: application/json", "--data", r#"{"key":"k","value":"v"}"#];
    assert!(curl(&cluster, "/cluster/shared-state", &json).0.contains("\"k"), "a body goes with it");
    let path = cluster.directory().join("access.log");
    let logged = eventually("the requests are logged", || {
        let text = std::fs::read_to_string(&path).ok()?;
        (text.lines().count() >= 6).then_some(text)
    });
    let line = logged.lines().next().unwrap();
    assert!(line.contains("\"GET /cluster/info HTTP/2.0\" 200 ") && line.ends_with(" id=mine"), "{logged}");
    assert!(logged.contains("\"TRACE /health HTTP/2.0\" 405 "), "{logged}");
}

#[test]
#[ignore = "needs curl and node: bash .ci/setup"]
fn curl_uploads_and_downloads_megabytes() {
    let cluster = Balancer::program(1, &["--health-path", "/pid", "--http2", "on"]).start_ready();
    let file = cluster.directory().join("upload");
    std::fs::write(&file, vec![b'x'; 3_000_000]).unwrap();
    let data = format!("@{}", file.display());
    let (body, said) = curl(&cluster, "/sink", &["--header", "Expect: 100-continue", "--data-binary", &data]);
    assert_eq!(body, "3000000");
    assert!(said.contains("HTTP/2 200"), "{said}");
    let (body, _) = curl(&cluster, "/sink", &["--header", "Transfer-Encoding:", "--data-binary", &data]);
    assert_eq!(body, "3000000");
}

#[test]
#[ignore = "needs nghttp and h2load: bash .ci/setup"]
fn nghttp2s_tools_are_served() {
    let cluster = Balancer::cluster(2).with(&ON).start_ready();
    let (out, _) = output(Command::new("nghttp").args(["-nv", &url(&cluster, "/cluster/info")]));
    assert!(out.contains(":status: 200") && out.contains("END_STREAM"), "{out}");
    let load = ["-n", "2000", "-c", "4", "-m", "20", &url(&cluster, "/cluster/local-state")];
    let (out, _) = output(Command::new("h2load").args(load));
    assert!(out.contains("2000 succeeded, 0 failed, 0 errored, 0 timeout"), "{out}");
    assert!(out.contains("status codes: 2000 2xx"), "{out}");
}

/// Clients of their own process, which work until they are told to stop.
pub(super) struct Clients(Child);

impl Clients {
    pub(super) fn start(cluster: &Cluster, path: &str) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/programs/http2_clients.js");
        let mut node = Command::new("node");
        node.args([script, &url(cluster, ""), "3", path]).stdin(Stdio::piped()).stdout(Stdio::piped());
        Self(node.spawn().expect("node is installed (see .ci/setup)"))
    }

    pub(super) fn stop(mut self) -> Value {
        drop(self.0.stdin.take());
        let mut out = String::new();
        std::io::Read::read_to_string(&mut self.0.stdout.take().unwrap(), &mut out).unwrap();
        serde_json::from_str(&out).unwrap()
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn reloads_and_killed_workers_lose_no_request() {
    let cluster = Balancer::cluster(2).with(&ON).start_ready();
    let clients = Clients::start(&cluster, "/cluster/info");
    eventually("they are at work", || (cluster.workers()[0]["requests"].as_u64()? > 50).then_some(()));
    for round in 0..4 {
        if round % 2 == 0 {
            let (code, _, err) = cluster.operate(&["reload"]);
            assert_eq!(code, 0, "{err}");
        } else {
            let victim = cluster.worker_pids()[0];
            send_signal(victim, Signal::KILL);
            eventually("it has gone", || (!is_alive(victim)).then_some(()));
            cluster.wait_ready();
            eventually("both are there", || (cluster.worker_pids().len() == 2).then_some(()));
        }
    }
    let result = clients.stop();
    assert_eq!(result["wrong"], serde_json::json!([]), "{result}");
    assert!(result["answered"].as_u64().unwrap() > 100, "{result}");
    assert_eq!(result["connections"], 3, "a client's connection outlives workers: {result}");
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn a_shutdown_asks_clients_to_leave_and_cuts_no_request() {
    let mut cluster = Balancer::cluster(2).with(&ON).start_ready();
    let clients = Clients::start(&cluster, "/cluster/info");
    eventually("they are at work", || (cluster.workers()[0]["requests"].as_u64()? > 50).then_some(()));
    let start = std::time::Instant::now();
    cluster.signal(Signal::TERM);
    assert!(cluster.wait().success());
    assert!(start.elapsed() < std::time::Duration::from_secs(3), "{:?}", start.elapsed());
    let result = clients.stop();
    assert_eq!(result["wrong"], serde_json::json!([]), "{result}");
    assert!(result["refused"].as_u64() > Some(0), "clients left, and then nobody listened: {result}");
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn a_websocket_goes_through() {
    let script = |name: &str| format!("{}/tests/e2e/programs/{name}", env!("CARGO_MANIFEST_DIR"));
    let balancer = Balancer::cluster(1).with(&["--health-path", "/slow"]).with(&ON);
    let program = script("realtime.js");
    let balancer = balancer.with(&["--", "node", &program]).env("PATH", &std::env::var("PATH").unwrap());
    let cluster = balancer.start_ready();
    let (out, _) = output(Command::new("node").args([script("http2_websocket.js"), url(&cluster, "")]));
    assert_eq!(out.trim(), "200 helloping 0");
}

#[test]
fn prior_knowledge_is_a_setting() {
    let preface = |cluster: &Cluster| {
        let mut stream = std::net::TcpStream::connect(cluster.address).unwrap();
        stream.set_read_timeout(Some(crate::harness::DEADLINE)).unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
        stream
    };
    let cluster = Balancer::cluster(1).start_ready();
    assert_eq!(status(&read_all(preface(&cluster))), 505);
    let cluster = Balancer::cluster(1).env("CLUSTER_HTTP2", "on").start_ready();
    let (mut stream, mut head) = (preface(&cluster), [0; 9]);
    std::io::Read::read_exact(&mut stream, &mut head).unwrap();
    assert_eq!(head[3], 4, "SETTINGS: {head:?}");
    // A frame that nobody may send ends the connection, and is counted.
    stream.write_all(b"\0\0\0\x09\x04\0\0\0\x01").unwrap();
    eventually("it is counted", || {
        (cluster.metric("http2_connections_ended_total{reason=\"protocol-error\"}") == 1).then_some(())
    });
    let (code, said) = Balancer::cluster(1).with(&["--http2", "maybe"]).output();
    assert_eq!(code, 2);
    for part in ["maybe", "--http2", "off, tls or on"] {
        assert!(said.contains(part), "{said}");
    }
}
