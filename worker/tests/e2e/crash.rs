//! `POST /cluster/crash`: the answer arrives whole, and then it happens.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::http::{Connection, get, post, post_empty, request};
use crate::process::Worker;

const JSON: &str = "Content-Type: application/json";

fn assert_answer(response: crate::http::Response, pid: u32) {
    let expected = json!({
        "message": format!("Worker 0 (PID: {pid}) is crashing... it should restart automatically"),
        "workerId": 0,
        "pid": pid
    });
    assert_eq!(response.ok(), expected);
}

#[test]
fn exit_is_the_default() {
    for body in ["", "{}", "{\"mode\": \"exit\"}"] {
        let mut worker = Worker::start();
        let response = request(worker.port, "POST", "/cluster/crash", &[JSON], body.as_bytes());
        assert_answer(response, worker.pid());
        let (status, took) = worker.wait();
        assert_eq!(status.code(), Some(70));
        assert!(took < Duration::from_millis(500), "it took {took:?}");
    }
}

#[test]
fn abort_dies_by_signal() {
    let mut worker = Worker::start();
    assert_answer(post(worker.port, "/cluster/crash", "{\"mode\": \"abort\"}"), worker.pid());
    let (status, _) = worker.wait();
    assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()));
}

#[test]
fn it_happens_though_the_client_keeps_its_connection() {
    let mut worker = Worker::start();
    let mut connection = Connection::open(worker.port);
    connection.request("POST", "/cluster/crash", &["Content-Length: 0", "Connection: keep-alive"], b"");
    assert_answer(connection.response(), worker.pid());
    let (status, took) = worker.wait();
    assert_eq!(status.code(), Some(70));
    assert!(took < Duration::from_secs(3), "it took {took:?}");
    drop(connection);
}

#[test]
fn hang_blocks_every_thread_and_health() {
    let mut worker = Worker::start_with(&[], &[("CLUSTER_WORKER_THREADS", "3")]);
    assert_answer(post(worker.port, "/cluster/crash", "{\"mode\": \"hang\"}"), worker.pid());
    crate::process::eventually("health does not answer", Duration::from_secs(5), || {
        // One for each thread, so that none of them is left.
        (0..6).all(|_| {
            let mut connection = Connection::open(worker.port);
            connection.request("GET", "/health", &[], b"");
            connection.set_patience(Duration::from_millis(100));
            connection.read_response(false).is_err()
        })
    });
    assert!(worker.is_running());
}

#[test]
fn it_can_be_forbidden() {
    let mut worker = Worker::start_with(&[], &[("CLUSTER_CRASH_ENABLED", "false")]);
    post_empty(worker.port, "/cluster/crash").assert_problem(403, &["CLUSTER_CRASH_ENABLED"]);
    assert!(worker.is_running());
    get(worker.port, "/health").ok();
    // Reachable from elsewhere: forbidden unless asked for.
    let worker = Worker::start_with(&["--host", "0.0.0.0"], &[]);
    post_empty(worker.port, "/cluster/crash").assert_problem(403, &["CLUSTER_CRASH_ENABLED"]);
}
