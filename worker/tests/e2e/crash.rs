//! `POST /cluster/crash`: the answer arrives whole, and then it happens.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use shared_testkit::connection::Answer;

use shared_testkit::wait_until;

use crate::http::{FromWorker, connect, get, post, post_empty, request};
use crate::process::Worker;

const JSON: (&str, &str) = ("content-type", "application/json");

fn assert_answer(response: Answer, pid: u32) {
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
    let mut connection = connect(worker.port);
    connection
        .send("POST", "/cluster/crash", &[("content-length", "0"), ("connection", "keep-alive")], b"")
        .unwrap();
    assert_answer(connection.receive(false).unwrap(), worker.pid());
    let (status, took) = worker.wait();
    assert_eq!(status.code(), Some(70));
    assert!(took < Duration::from_secs(3), "it took {took:?}");
    drop(connection);
}

#[test]
fn hang_blocks_every_thread_and_health() {
    let mut worker = Worker::start_with(&[], &[("CLUSTER_WORKER_THREADS", "3")]);
    assert_answer(post(worker.port, "/cluster/crash", "{\"mode\": \"hang\"}"), worker.pid());
    wait_until("health does not answer", Duration::from_secs(5), || {
        // One for each thread, so that none of them is left.
        (0..6).all(|_| {
            let mut connection = connect(worker.port);
            connection.send("GET", "/health", &[], b"").unwrap();
            connection.set_read_timeout(Duration::from_millis(100)).unwrap();
            connection.receive(false).is_err()
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
