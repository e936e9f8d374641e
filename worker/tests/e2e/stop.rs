//! Stopping: what is in flight is finished, idle connections are no reason to
//! wait, and a second signal forces.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use shared_testkit::connection::Connection;
use shared_testkit::eventually;

use crate::http::{FromWorker, connect, get, post_empty};
use crate::process::Worker;

const JSON: (&str, &str) = ("content-type", "application/json");

#[test]
fn idle_it_stops_at_once() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut worker = Worker::start();
        get(worker.port, "/health").ok();
        worker.signal(signal);
        let (status, took) = worker.wait();
        assert_eq!(status.code(), Some(0));
        assert!(took < Duration::from_millis(300), "it took {took:?}");
    }
}

#[test]
fn idle_connections_are_no_reason_to_wait() {
    let mut worker = Worker::start();
    let mut connections: Vec<Connection> = (0..10).map(|_| connect(worker.port)).collect();
    for connection in &mut connections[..5] {
        connection.send("GET", "/health", &[], b"").unwrap();
        connection.receive(false).unwrap().ok();
    }
    worker.signal(Signal::TERM);
    let (status, took) = worker.wait();
    assert_eq!(status.code(), Some(0));
    assert!(took < Duration::from_millis(500), "it took {took:?}");
}

#[test]
fn requests_in_flight_are_finished() {
    let mut worker = Worker::start();
    let mut slow: Vec<Connection> = (0..8)
        .map(|_| {
            let mut connection = connect(worker.port);
            connection.send("POST", "/cluster/cpu-intensive", &[JSON], b"{\"n\": 37}").unwrap();
            connection
        })
        .collect();
    // A request whose body is still on its way is in flight, too.
    let mut half = connect(worker.port);
    half.send("POST", "/cluster/cpu-intensive", &[JSON, ("content-length", "9")], b"").unwrap();
    half.write("{\"n\"".as_bytes()).unwrap();
    // All have arrived once a later one has been answered.
    get(worker.port, "/cluster/info").ok();
    worker.signal(Signal::TERM);
    worker.wait_for_log("stopping");
    assert!(std::net::TcpStream::connect(("127.0.0.1", worker.port)).is_err() || worker.is_running());
    half.write(": 10}".as_bytes()).unwrap();
    assert_eq!(half.receive(false).unwrap().ok()["calculation"]["result"], 55);
    for connection in &mut slow {
        let answer = connection.receive(false).unwrap();
        assert_eq!(answer.header("connection"), Some("close"));
        assert_eq!(answer.ok()["calculation"]["result"], 24_157_817);
    }
    let (status, took) = worker.wait();
    assert_eq!(status.code(), Some(0));
    assert!(took < Duration::from_secs(1), "it took {took:?} after the last answer");
}

#[test]
fn the_deadline_and_a_second_signal_end_it() {
    let mut worker = Worker::start_with(&["--drain-timeout", "300ms"], &[]);
    let mut slow = connect(worker.port);
    slow.send("POST", "/cluster/cpu-intensive", &[JSON], b"{\"n\": 45}").unwrap();
    get(worker.port, "/health").ok();
    worker.signal(Signal::TERM);
    let (status, took) = worker.wait();
    assert_eq!(status.code(), Some(0));
    assert!((Duration::from_millis(290)..Duration::from_secs(2)).contains(&took), "it took {took:?}");
    worker.wait_for_log("before all connections were done");

    let mut worker = Worker::start();
    let mut slow = connect(worker.port);
    slow.send("POST", "/cluster/cpu-intensive", &[JSON], b"{\"n\": 45}").unwrap();
    get(worker.port, "/health").ok();
    worker.signal(Signal::TERM);
    let began = Instant::now();
    // Within a second of the first they are the first again.
    eventually("a second one counts", || {
        worker.signal(Signal::TERM);
        worker.log().iter().any(|entry| entry.to_string().contains("by a second SIGTERM")).then_some(())
    });
    let took = began.elapsed();
    assert_eq!(worker.wait().0.code(), Some(1));
    assert!((Duration::from_millis(900)..Duration::from_millis(1500)).contains(&took), "it took {took:?}");
}

#[test]
fn a_temporary_store_is_removed() {
    let mut worker = Worker::start();
    post_empty(worker.port, "/cluster/shared-state/k/increment").ok();
    let left = |worker: &Worker| std::fs::read_dir(worker.directory.path()).unwrap().count();
    assert_eq!(left(&worker), 1);
    worker.signal(Signal::TERM);
    worker.wait();
    assert_eq!(left(&worker), 0);
}
