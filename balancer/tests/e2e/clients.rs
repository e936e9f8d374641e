//! What clients may do, and for how long.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use serde_json::json;

use crate::harness::{Balancer, Cluster, Connection, DEADLINE, eventually};
use shared_testkit::connection::{read_all, status};

fn cluster(options: &[&str]) -> Cluster {
    Balancer::cluster(1).with(options).start_ready()
}

fn open(cluster: &Cluster) -> TcpStream {
    let stream = TcpStream::connect(cluster.address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// What comes until the connection is closed, and how long that took.
fn until_closed(cluster: &Cluster, bytes: &[u8]) -> (String, Duration) {
    let start = Instant::now();
    let mut stream = open(cluster);
    stream.write_all(bytes).unwrap();
    (read_all(stream), start.elapsed())
}

/// Not before the limit, and long before the default.
fn in_time(took: Duration) {
    assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(8), "{took:?}");
}

#[test]
fn a_head_has_to_come_in_time() {
    let cluster = cluster(&["--head-timeout", "300ms"]);
    let (answer, took) = until_closed(&cluster, b"GET /cluster/info HTTP/1.1\r\nHost: a\r\nX-Slow: ");
    assert_eq!(status(&answer), 408, "{answer}");
    in_time(took);
    // Also on a connection that has proved itself.
    let mut client = Connection::open(cluster.address).unwrap();
    client.send("GET", "/cluster/info", &[], b"").unwrap();
    assert_eq!(client.receive(false).unwrap().status, 200);
    client.write(b"GET /cluster/info HTTP/1.1\r\nHo").unwrap();
    client.receive(false).unwrap().problem(408);
}

#[test]
fn an_idle_connection_is_closed_in_time() {
    let cluster = Balancer::cluster(1).env("CLUSTER_IDLE_TIMEOUT", "300ms").start_ready();
    let (answer, took) = until_closed(&cluster, b"");
    assert_eq!(answer, "");
    in_time(took);
    let (answer, took) = until_closed(&cluster, b"GET /cluster/info HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(status(&answer), 200);
    in_time(took);
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn a_worker_has_to_answer_in_time() {
    let cluster = Balancer::program(1, &["--response-timeout", "300ms"]).start_ready();
    let start = Instant::now();
    let detail = cluster.get("/slow?ms=20000").problem(504);
    in_time(start.elapsed());
    assert!(detail.contains("did not answer in time"), "{detail}");
    assert_eq!(cluster.get("/slow?ms=1").text(), "slow");
}

const POST: &str = "POST /cluster/shared-state HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n";

#[test]
fn a_body_has_to_go_on_and_to_keep_its_pace() {
    let part = format!("{POST}Content-Length: 1000\r\n\r\n{{");
    let paused = cluster(&["--client-timeout", "300ms"]);
    let (answer, took) = until_closed(&paused, part.as_bytes());
    assert_eq!(status(&answer), 408, "{answer}");
    in_time(took);

    let dripped = cluster(&["--body-timeout", "300ms", "--min-body-rate", "1MiB"]);
    let start = Instant::now();
    let mut stream = open(&dripped);
    stream.write_all(part.as_bytes()).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let mut answer = [0; 12];
    // It never pauses for long, and yet it is too slow.
    eventually("it is told so", || {
        let _ = stream.write_all(b" ");
        stream.read_exact(&mut answer).ok()
    });
    assert_eq!(&answer, b"HTTP/1.1 408");
    in_time(start.elapsed());
}

#[test]
fn a_body_that_is_too_large_is_refused_by_length_and_while_it_comes() {
    let cluster = cluster(&["--max-request-body", "1KiB"]);
    let body = |length: usize| vec![b' '; length];
    let json = [("content-type", "application/json")];
    let answer = cluster.request("POST", "/cluster/shared-state", &json, &body(1024));
    assert_eq!(answer.status, 400, "not too large: it is the worker that does not like it");
    let detail = cluster.request("POST", "/cluster/shared-state", &json, &body(1025)).problem(413);
    assert!(detail.contains("1024 bytes"), "{detail}");
    let chunk = format!("401\r\n{}\r\n0\r\n\r\n", " ".repeat(1025));
    let (answer, _) =
        until_closed(&cluster, format!("{POST}Transfer-Encoding: chunked\r\n\r\n{chunk}").as_bytes());
    assert_eq!(status(&answer), 413, "{answer}");
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn what_is_forwarded_is_believed_only_when_told() {
    let claims =
        [("x-forwarded-for", "192.0.2.9"), ("x-forwarded-proto", "https"), ("x-real-ip", "192.0.2.9")];
    let seen = |options: &[&str], variable: &str| {
        let cluster = Balancer::program(1, options).env("CLUSTER_TRUST_FORWARDED", variable).start_ready();
        let seen = cluster.request("GET", "/headers", &claims, b"").json();
        ["x-forwarded-for", "x-forwarded-proto", "x-real-ip"]
            .map(|name| seen[name].as_str().map(str::to_owned))
    };
    let some = |text: &str| Some(text.to_owned());
    let believed = [some("192.0.2.9, 127.0.0.1"), some("https"), some("192.0.2.9")];
    let replaced = [some("127.0.0.1"), some("http"), None];
    assert_eq!(seen(&["--trust-forwarded"], ""), believed);
    assert_eq!(seen(&[], "true"), believed);
    assert_eq!(seen(&["--trust-forwarded=false"], "true"), replaced);
    assert_eq!(seen(&[], ""), replaced);
}

fn is_served(client: &mut Connection) -> bool {
    let answer = client.send("GET", "/cluster/info", &[], b"").and_then(|()| client.receive(false));
    answer.is_ok_and(|answer| answer.status == 200)
}

#[test]
fn connections_beyond_the_limit_wait() {
    let cluster = cluster(&["--max-connections", "2"]);
    let mut admitted: Vec<_> = (0..2).map(|_| Connection::open(cluster.address).unwrap()).collect();
    assert!(admitted.iter_mut().all(is_served));
    let mut third = open(&cluster);
    third.write_all(b"GET /cluster/info HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    third.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let mut start = [0; 12];
    assert!(third.read_exact(&mut start).is_err(), "the kernel has it");
    admitted.pop();
    third.set_read_timeout(Some(DEADLINE)).unwrap();
    third.read_exact(&mut start).unwrap();
    assert_eq!(&start, b"HTTP/1.1 200", "what it had sent is answered");
}

#[test]
fn the_last_room_is_for_whichever_thread_a_client_comes_to() {
    let cluster = cluster(&["--max-connections", "1"]);
    for client in 0..20 {
        assert!(is_served(&mut Connection::open(cluster.address).unwrap()), "client {client}");
    }
}

#[test]
fn more_connections_than_there_can_be_are_refused_at_start() {
    let balancer = Balancer::cluster(1).with(&["--max-connections", "1000"]).limit_descriptors(256);
    let (code, text) = balancer.output();
    assert_eq!((code, text.trim().lines().count()), (1, 1), "{text}");
    assert!(text.contains("--max-connections") && text.contains("1000"), "{text}");
}

/// Connects from another address of this machine.
fn connect_from(address: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&socket, &SocketAddr::from((address, 0))).unwrap();
    connect(&socket, &to).unwrap();
    TcpStream::from(socket)
}

#[test]
fn one_address_does_not_take_the_connections_of_others() {
    let cluster = cluster(&["--max-connections-per-ip", "2"]);
    let mut mine: Vec<_> = (0..2).map(|_| Connection::open(cluster.address).unwrap()).collect();
    assert!(mine.iter_mut().all(is_served));
    let (answer, _) = until_closed(&cluster, b"GET /cluster/info HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(status(&answer), 503, "{answer}");
    assert!(answer.contains("\r\nRetry-After: 1\r\n") && answer.contains("from this address"), "{answer}");
    assert!(answer.contains("Connection: close"), "{answer}");
    assert_eq!(cluster.metric("connections_refused_total"), 1);
    assert_eq!(cluster.metric("rejections_total{reason=\"max-connections-per-ip\"}"), 1);
    let said = cluster.fault("max-connections-per-ip");
    assert!(said["message"].as_str().unwrap().contains("--max-connections-per-ip"), "{said}");
    let mut other = connect_from([127, 0, 0, 2], cluster.address);
    other.write_all(b"GET /cluster/info HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    assert_eq!(status(&read_all(other)), 200, "somebody else");
    assert!(mine.iter_mut().all(is_served), "those that were admitted stay");
    mine.pop();
    eventually("there is room again", || {
        is_served(&mut Connection::open(cluster.address).unwrap()).then_some(())
    });
}

#[test]
fn memory_of_buffers_that_is_used_up_is_said_once_and_counted() {
    let cluster = cluster(&["--buffer-memory", "0"]);
    let body = json!({ "key": "k", "value": "v".repeat(100_000) });
    for count in 1..=3 {
        assert_eq!(cluster.post("/cluster/shared-state", &body).status, 200);
        assert_eq!(cluster.metric("buffer_rejections_total{part=\"request\"}"), count);
    }
    assert_eq!(cluster.metric("buffer_rejections_total{part=\"response\"}"), 0);
    assert_eq!(cluster.metric("buffered_bytes"), 0);
    let said = || cluster.log().iter().filter(|line| line.contains("--buffer-memory")).count();
    eventually("the log says so", || (said() > 0).then_some(()));
    assert_eq!(said(), 1);
}
