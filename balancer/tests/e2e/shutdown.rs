//! How a cluster ends: in order, at once, or by force, and never with leftovers.

use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use crate::harness::{Balancer, Cluster, Connection, eventually, is_alive, killed_by};

fn assert_gone(pids: &[u32]) {
    eventually("no worker is left", || pids.iter().all(|&pid| !is_alive(pid)).then_some(()));
}

fn state_directories(cluster: &Cluster) -> usize {
    let entries = std::fs::read_dir(cluster.directory()).unwrap().flatten();
    entries.filter(|entry| entry.file_name().to_str().unwrap().starts_with("cluster-state-")).count()
}

/// Sends a computation that takes a while; the answer is still to come.
fn slow_request(cluster: &Cluster, n: u32) -> Connection {
    let mut connection = Connection::open(cluster.address).unwrap();
    let body = json!({ "n": n }).to_string();
    connection
        .send("POST", "/cluster/cpu-intensive", &[("content-type", "application/json")], body.as_bytes())
        .unwrap();
    connection
}

fn in_flight(cluster: &Cluster) -> u64 {
    cluster.workers().iter().map(|worker| worker["inFlight"].as_u64().unwrap()).sum()
}

#[test]
fn an_idle_cluster_stops_in_order_on_sigterm_and_on_sigint() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut cluster = Balancer::cluster(2).with(&["--host", "127.0.77.2"]).start_ready();
        let workers = cluster.worker_pids();
        assert_eq!(state_directories(&cluster), 1);
        cluster.signal(signal);
        assert_eq!(cluster.wait().code(), Some(0));
        assert_gone(&workers);
        assert!(TcpStream::connect(cluster.address).is_err(), "the port is free");
        assert_eq!(state_directories(&cluster), 0, "the store's directory is gone");
        assert!(!cluster.control.exists(), "and the control socket");
        assert!(!cluster.log().iter().any(|line| line.contains("killed")), "{:#?}", cluster.log());
    }
}

#[test]
fn requests_in_flight_are_finished() {
    let mut cluster = Balancer::cluster(2).start_ready();
    let mut clients: Vec<_> = (0..8).map(|_| slow_request(&cluster, 36)).collect();
    eventually("all eight are with a worker", || (in_flight(&cluster) == 8).then_some(()));
    cluster.signal(Signal::TERM);
    for client in &mut clients {
        let answer = client.receive(false).unwrap();
        assert_eq!((answer.status, &answer.json()["calculation"]["result"]), (200, &14_930_352.into()));
        assert_eq!(answer.header("connection"), Some("close"));
    }
    assert_eq!(cluster.wait().code(), Some(0));
}

#[test]
fn requests_sent_just_before_the_signal_are_answered() {
    let mut cluster = Balancer::cluster(2).start_ready();
    let mut clients: Vec<_> = (0..50).map(|_| Connection::open(cluster.address).unwrap()).collect();
    for client in &mut clients {
        client.send("GET", "/cluster/info", &[], b"").unwrap();
    }
    cluster.signal(Signal::TERM);
    for client in &mut clients {
        assert_eq!(client.receive(false).unwrap().status, 200);
    }
    assert_eq!(cluster.wait().code(), Some(0));
}

#[test]
fn a_draining_cluster_says_so_on_connections_that_are_still_open() {
    let mut cluster = Balancer::cluster(1).start_ready();
    let mut slow = slow_request(&cluster, 38);
    let mut other = Connection::open(cluster.address).unwrap();
    other.send("GET", "/health", &[], b"").unwrap();
    assert_eq!(other.receive(false).unwrap().status, 200);
    eventually("the slow request is with the worker", || (in_flight(&cluster) == 1).then_some(()));
    cluster.signal(Signal::TERM);
    eventually("the port is closed", || TcpStream::connect(cluster.address).err());
    other.send("GET", "/health", &[], b"").unwrap();
    let health = other.receive(false).unwrap();
    assert_eq!((health.status, &health.json()["status"]), (503, &"unavailable".into()));
    assert_eq!(slow.receive(false).unwrap().status, 200);
    assert_eq!(cluster.wait().code(), Some(0));
}

#[test]
fn the_drain_timeout_bounds_the_wait() {
    let mut cluster =
        Balancer::cluster(1).with(&["--drain-timeout", "200ms", "--kill-timeout", "500ms"]).start_ready();
    let workers = cluster.worker_pids();
    // Longer than any timeout here: about a minute of computing.
    let mut slow = slow_request(&cluster, 45);
    eventually("the slow request is with the worker", || (in_flight(&cluster) == 1).then_some(()));
    cluster.signal(Signal::TERM);
    assert_eq!(cluster.wait().code(), Some(0));
    assert!(cluster.log().iter().any(|line| line.contains("stop timeout reached")));
    assert_gone(&workers);
    assert!(slow.receive(false).map_or(true, |answer| answer.status >= 500));
}

#[test]
fn a_second_signal_does_not_wait() {
    let mut cluster = Balancer::cluster(1).start_ready();
    let workers = cluster.worker_pids();
    let _slow = slow_request(&cluster, 45);
    eventually("the slow request is with the worker", || (in_flight(&cluster) == 1).then_some(()));
    let began = Instant::now();
    cluster.signal(Signal::TERM);
    eventually("it is draining", || TcpStream::connect(cluster.address).err());
    // Within a second of the first they are the first again.
    eventually("a second one counts", || {
        cluster.signal(Signal::TERM);
        cluster.log().iter().any(|line| line.contains("second signal: stopping")).then_some(())
    });
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(cluster.wait().code(), Some(1));
    assert_gone(&workers);
}

#[test]
fn a_signal_during_start_stops_what_was_started() {
    for _ in 0..10 {
        let mut cluster = Balancer::cluster(4).start();
        cluster.signal(Signal::TERM);
        assert_eq!(cluster.wait().code(), Some(0));
        assert_eq!(state_directories(&cluster), 0);
    }
}

#[test]
fn killing_the_primary_leaves_no_worker_and_no_port() {
    // An address of its own, on which no other test can take the freed port.
    let mut cluster = Balancer::cluster(4).with(&["--host", "127.0.77.1"]).start_ready();
    let workers = cluster.worker_pids();
    // Workers that compute, so that nothing but the kernel can tell them.
    let _busy: Vec<_> = (0..4).map(|_| slow_request(&cluster, 45)).collect();
    eventually("all are at work", || (in_flight(&cluster) == 4).then_some(()));
    cluster.signal(Signal::KILL);
    assert!(killed_by(cluster.wait(), Signal::KILL));
    assert_gone(&workers);
    assert!(TcpStream::connect(cluster.address).is_err(), "the port is free");
}

#[test]
fn a_killed_primary_with_frozen_workers_leaves_nothing_either() {
    let mut cluster = Balancer::cluster(2).start_ready();
    let workers = cluster.worker_pids();
    for &worker in &workers {
        crate::harness::send_signal(worker, Signal::STOP);
    }
    cluster.signal(Signal::KILL);
    cluster.wait();
    assert_gone(&workers);
}

#[test]
fn the_next_cluster_removes_what_a_killed_one_left() {
    let mut first = Balancer::cluster(1).start_ready();
    first.signal(Signal::KILL);
    first.wait();
    assert_eq!(state_directories(&first), 1);
    let parent = first.directory().to_str().unwrap().to_owned();
    let _second = Balancer::cluster(1).env("TMPDIR", &parent).start_ready();
    assert_eq!(state_directories(&first), 1, "its own, and not the first one's");
}

#[test]
fn many_idle_connections_do_not_hold_up_the_end() {
    let mut cluster = Balancer::cluster(1).start_ready();
    let idle: Vec<_> = (0..100).map(|_| Connection::open(cluster.address).unwrap()).collect();
    let waiting = thread::spawn(move || {
        drop(idle.into_iter().map(|mut client| client.receive(false)).collect::<Vec<_>>())
    });
    cluster.signal(Signal::TERM);
    assert_eq!(cluster.wait().code(), Some(0));
    waiting.join().unwrap();
}

#[test]
fn a_log_that_nobody_reads_holds_nobody_up() {
    let (mut cluster, unread) = Balancer::cluster(2).env("RUST_LOG", "trace").start_unread();
    // At this level a request writes kilobytes; the pipe takes 64 of them, the
    // queue behind it 16,384 lines.
    for _ in 0..1_500 {
        assert_eq!(cluster.get("/cluster/info").status, 200);
    }
    cluster.signal(Signal::TERM);
    assert_eq!(cluster.wait().code(), Some(0));
    drop(unread);
}

#[test]
fn a_request_whose_answer_is_out_does_not_hold_up_the_end() {
    let mut cluster = Balancer::cluster(1).with(&["--buffer-requests", "0"]).start_ready();
    let mut client = Connection::open(cluster.address).unwrap();
    let head = "POST /cluster/shared-state HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n";
    client.write(format!("{head}content-length: 10485760\r\n\r\n{{").as_bytes()).unwrap();
    client.receive(false).unwrap().problem(413);
    let start = Instant::now();
    cluster.signal(Signal::TERM);
    assert_eq!(cluster.wait().code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(15), "less than the drain timeout: {:?}", start.elapsed());
}

#[test]
fn a_body_that_still_comes_is_waited_for() {
    let mut cluster = Balancer::cluster(1).with(&["--buffer-requests", "64KiB"]).start_ready();
    let body = json!({ "key": "k", "value": "v".repeat(10_000) }).to_string();
    let head = "POST /cluster/shared-state HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n";
    let mut client = Connection::open(cluster.address).unwrap();
    let (first, rest) = body.split_at(5_000);
    client.write(format!("{head}content-length: {}\r\n\r\n{first}", body.len()).as_bytes()).unwrap();
    // Behind it in the same backlog, so the first one has been accepted as well.
    assert_eq!(cluster.get("/cluster/info").status, 200);
    eventually("no worker is occupied", || (in_flight(&cluster) == 0).then_some(()));
    cluster.signal(Signal::TERM);
    eventually("it shuts down", || {
        cluster.log().iter().any(|line| line.contains("shutting down")).then_some(())
    });
    client.write(rest.as_bytes()).unwrap();
    let answer = client.receive(false).unwrap();
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    assert_eq!(cluster.wait().code(), Some(0));
}

#[test]
fn a_response_in_memory_is_given_whole() {
    let mut cluster = Balancer::cluster(1).start_ready();
    let value = "v".repeat(900_000);
    assert_eq!(cluster.post("/cluster/shared-state", &json!({ "key": "k", "value": value })).status, 200);
    // Together more than the sockets hold; the last responses are in memory or asked for.
    let mut client = Connection::open(cluster.address).unwrap();
    client.write("GET /cluster/shared-state/k HTTP/1.1\r\nhost: a\r\n\r\n".repeat(20).as_bytes()).unwrap();
    eventually("some is in memory", || (cluster.metric("buffered_bytes") > 0).then_some(()));
    eventually("the worker is free", || (in_flight(&cluster) == 0).then_some(()));
    cluster.signal(Signal::TERM);
    eventually("it shuts down", || {
        cluster.log().iter().any(|line| line.contains("shutting down")).then_some(())
    });
    let mut answers = 0;
    while let Ok(answer) = client.receive(false) {
        assert_eq!((answer.status, answer.body.len() > value.len()), (200, true));
        answers += 1;
    }
    assert!(answers > 1);
    assert_eq!(cluster.wait().code(), Some(0));
}

#[test]
fn clients_cannot_use_up_what_the_supervisor_needs() {
    let cluster =
        Balancer::cluster(1).limit_descriptors(128).with(&["--health-interval", "100ms"]).start_ready();
    let pid = cluster.worker_pids()[0];
    let _idle: Vec<_> = (0..200).map(|_| TcpStream::connect(cluster.address).unwrap()).collect();
    // Long enough for some probes and a restart.
    crate::harness::send_signal(pid, Signal::KILL);
    eventually("the worker is replaced", || {
        cluster.events().iter().filter(|event| event["message"] == "online").nth(1).map(|_| ())
    });
    let missed = cluster.log().iter().filter(|line| line.contains("could not be probed")).count();
    assert_eq!(missed, 0);
}
