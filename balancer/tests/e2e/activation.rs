//! Sockets that are passed by whoever starts the cluster, and outlive it.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use crate::harness::*;

/// Becomes the program as systemd starts a service: the socket, which comes as standard input
/// here, as descriptor 3, and a second one from standard output as descriptor 4.
const ACTIVATE: &str =
    "exec 3<&0 4<&1 </dev/null >/dev/null; export LISTEN_PID=${PID:-$$}; exec \"$0\" \"$@\"";

/// A cluster that is passed `count` sockets.
fn passed(balancer: Balancer, count: &str) -> Balancer {
    balancer.run_below("/bin/sh", &["-c", ACTIVATE]).env("LISTEN_FDS", count)
}

fn with_socket(balancer: &Balancer, socket: impl Into<OwnedFd>) -> Command {
    let mut command = balancer.to_start();
    command.stdin(Stdio::from(socket.into()));
    command
}

fn start(balancer: Balancer, socket: &TcpListener) -> Cluster {
    let mut child = with_socket(&balancer, socket.try_clone().unwrap()).spawn().unwrap();
    let stderr = child.stderr.take().unwrap();
    let cluster = balancer.follow(child, stderr);
    cluster.wait_ready();
    cluster
}

fn socket() -> (TcpListener, SocketAddr) {
    let socket = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

#[test]
fn a_socket_that_was_passed_is_served_and_stays_open_without_the_cluster() {
    let (socket, address) = socket();
    for _ in 0..2 {
        let mut cluster = start(passed(Balancer::cluster(1), "1"), &socket);
        assert_eq!(cluster.address, address);
        assert!(cluster.log().iter().any(|line| line.contains("(inherited)")), "{:?}", cluster.log());
        assert_eq!(cluster.request("GET", "/cluster/info", &[], b"").status, 200);
        cluster.signal(rustix::process::Signal::TERM);
        assert!(cluster.wait().success());
        // Waits for the next one.
        std::net::TcpStream::connect(address).unwrap();
    }
}
