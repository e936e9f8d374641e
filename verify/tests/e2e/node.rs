//! Another implementation, as far as its routes go: Node's own cluster.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::harness::{command, finish};

struct Node(Child);

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn nodes_cluster_is_judged_as_far_as_its_routes_go() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/server.js");
    let started = Command::new("node")
        .arg(script)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let child = started.expect("this test needs Node: apt-get install nodejs");
    let mut node = Node(child);
    let mut port = String::new();
    BufReader::new(node.0.stdout.take().unwrap()).read_line(&mut port).unwrap();
    let url = format!("http://127.0.0.1:{}", port.trim());
    let outcome = finish(command(&["--url", &url, "--format", "json"]).spawn().unwrap());
    let of = |check| outcome.of(check);
    // Node turns by connection, not by request, and only nearly in turn.
    assert_eq!((of("availability"), of("local-state")), ("passed".into(), "passed".into()), "{outcome:?}");
    assert_eq!((of("round-robin"), outcome.code), ("failed".into(), 1), "{outcome:?}");
    // Nobody says how many workers there are.
    assert_eq!(of("coverage"), "inconclusive");
    for check in ["shared-state", "shared-counter", "cpu-distribution", "memory", "errors", "workers"] {
        assert_eq!(of(check), "inconclusive", "{check}: {outcome:?}");
    }
    assert_eq!(of("conformance"), "not-applicable");
}
