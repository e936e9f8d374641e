//! W3C Trace Context: both fields reach the worker as they are, and the access log tells
//! which trace a request belongs to.

use std::fs;

use serde_json::Value;

use crate::harness::{Balancer, eventually};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

#[test]
fn the_access_log_tells_the_trace() {
    let cluster = Balancer::cluster(1)
        .with(&["--access-log", "access.log", "--access-log-format", "json"])
        .start_ready();
    let parent = format!("00-{TRACE}-b7ad6b7169203331-01");
    for (path, parent) in [("/cluster/info", &*parent), ("/health", &*parent), ("/cluster/info", "nonsense")]
    {
        assert_eq!(cluster.request("GET", path, &[("traceparent", parent)], b"").status, 200);
    }
    assert_eq!(cluster.get("/cluster/info").status, 200);
    let log = cluster.directory().join("access.log");
    let lines = eventually("all requests are logged", || {
        let text = fs::read_to_string(&log).ok()?;
        Some(text).filter(|text| text.lines().count() == 4)
    });
    let traces: Vec<_> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["traceId"].as_str().map(str::to_owned))
        .collect();
    let trace = Some(TRACE.to_owned());
    assert_eq!(traces, [trace.clone(), trace, None, None], "{lines}");
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn both_fields_pass_as_they_are() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/programs/echo_fields.js");
    let cluster = Balancer::cluster(1)
        .with(&["--", "node", script])
        .env("PATH", &std::env::var("PATH").unwrap())
        .start_ready();
    let parent = format!("cc-{TRACE}-b7ad6b7169203331-01-later");
    let headers = [("traceparent", &*parent), ("tracestate", "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7")];
    let received = cluster.request("GET", "/", &headers, b"").json();
    for (name, value) in headers {
        assert_eq!(received[name], value, "{received}");
    }
    let received = cluster.request("GET", "/", &[], b"").json();
    assert!(received["traceparent"].is_null(), "no trace is begun: {received}");
}
