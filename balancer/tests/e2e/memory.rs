//! What clients cost in memory: idle ones next to nothing, and bodies the same
//! whatever their length.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::harness::{Balancer, Cluster, Connection, DEADLINE};

const MIB: usize = 1 << 20;

/// A figure of `/proc/PID/status` in bytes.
fn status(cluster: &Cluster, name: &str) -> usize {
    let text = std::fs::read_to_string(format!("/proc/{}/status", cluster.pid())).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_matches([':', ' ', '\t']).trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

/// Connections that have been answered once and are kept.
fn idle(cluster: &Cluster, count: usize) -> Vec<Connection> {
    let open = |_| {
        let mut connection = Connection::open(cluster.address).unwrap();
        connection.send("GET", "/cluster/info", &[], b"").unwrap();
        assert_eq!(connection.receive(false).unwrap().status, 200);
        connection
    };
    (0..count).map(open).collect()
}

#[test]
fn idle_connections_cost_ten_kilobytes_each_at_most() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    let cluster = Balancer::cluster(1).start_ready();
    let first = idle(&cluster, 50);
    let before = status(&cluster, "VmRSS");
    let others = idle(&cluster, 1_000);
    let added = status(&cluster, "VmRSS").saturating_sub(before);
    assert!(added <= 10 * MIB, "{added} bytes for {} connections", others.len());
    drop((first, others));
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn the_length_of_a_body_does_not_matter() {
    const LENGTH: usize = 256 * MIB;
    let cluster = Balancer::program(1, &["--health-path", "/pid"]).start_ready();
    let mut client = TcpStream::connect(cluster.address).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    client.set_write_timeout(Some(Duration::from_secs(60))).unwrap();
    write!(client, "POST /sink HTTP/1.1\r\nHost: a\r\nContent-Length: {LENGTH}\r\n\r\n").unwrap();
    let mut part = vec![0; MIB];
    for _ in 0..LENGTH / part.len() {
        client.write_all(&part).unwrap();
    }
    write!(client, "GET /zeros?mb={} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", LENGTH / MIB)
        .unwrap();
    let (mut received, mut start) = (0, Vec::new());
    loop {
        let count = client.read(&mut part).unwrap();
        if count == 0 {
            break;
        }
        start.extend_from_slice(&part[..count.min(4096_usize.saturating_sub(start.len()))]);
        received += count;
    }
    let start = String::from_utf8_lossy(&start);
    assert!(start.contains(&LENGTH.to_string()), "what the program has got: {start:?}");
    assert!((LENGTH..LENGTH + 2048).contains(&received), "{received}");
    let peak = status(&cluster, "VmHWM");
    assert!(peak <= 50 * MIB, "{peak} bytes at most");
}
