//! Clients that people have at hand, with their own reading of the protocol.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::harness::{Balancer, Cluster};

fn curl(cluster: &Cluster, path: &str, arguments: &[&str]) -> (String, String) {
    let url = format!("http://{}{path}", cluster.address);
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--verbose", "--max-time", "20"])
        .args(arguments)
        .arg(url)
        .output()
        .expect("curl is installed (see .ci/setup)");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let (body, said) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success(), "{said}");
    (body, said)
}

#[test]
#[ignore = "needs curl and node: bash .ci/setup"]
fn curl_uploads_after_100_continue() {
    let cluster = Balancer::program(1, &["--health-path", "/pid"]).start_ready();
    let file = cluster.directory().join("upload");
    std::fs::write(&file, vec![b'x'; 3_000_000]).unwrap();
    let data = format!("@{}", file.display());
    // Without an answer curl would send its body after this time all the same.
    let waits = ["--expect100-timeout", "15", "--header", "Expect: 100-continue", "--data-binary", &data];
    let (body, said) = curl(&cluster, "/sink", &waits);
    assert_eq!(body, "3000000");
    assert!(said.contains("HTTP/1.1 100 Continue"), "{said}");
    assert!(!said.contains("Done waiting for 100-continue"), "{said}");
}

#[test]
#[ignore = "needs curl and node: bash .ci/setup"]
fn curl_with_http_1_0_gets_an_answer_that_it_understands() {
    let cluster = Balancer::program(1, &["--health-path", "/pid"]).start_ready();
    // Node sends this in chunks to whoever speaks HTTP/1.1, as the balancer does.
    let (body, said) = curl(&cluster, "/print?text=hello", &["--http1.0"]);
    assert_eq!(body, "printed");
    assert!(!said.to_ascii_lowercase().contains("transfer-encoding"), "{said}");
}

#[test]
#[ignore = "needs netcat and node: bash .ci/setup"]
fn netcat_that_ends_its_side_gets_its_answer() {
    let cluster = Balancer::program(1, &["--health-path", "/pid", "--half-close"]).start_ready();
    let (host, port) = (cluster.address.ip().to_string(), cluster.address.port().to_string());
    // -N: shutdown(2) of the sending side at the end of input.
    let mut netcat = Command::new("nc")
        .args(["-N", "-w", "20", &host, &port])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("netcat is installed (see .ci/setup)");
    let mut input = netcat.stdin.take().unwrap();
    input.write_all(b"GET /slow?ms=300 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    drop(input);
    let output = netcat.wait_with_output().unwrap();
    let answer = String::from_utf8_lossy(&output.stdout);
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("slow"), "{answer:?}");
}
