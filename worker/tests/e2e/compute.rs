//! `POST /cluster/cpu-intensive`: the event loop stays free, and the queue is
//! bounded.

use std::time::{Duration, Instant};

use shared_testkit::connection::Connection;

use shared_testkit::wait_until;

use crate::http::{FromWorker, connect, get, post, post_empty};
use crate::process::Worker;

const PATH: &str = "/cluster/cpu-intensive";
const JSON: (&str, &str) = ("content-type", "application/json");

/// Takes some seconds.
const LONG: &[u8] = b"{\"n\": 45}";

fn begin(worker: &Worker, body: &[u8]) -> Connection {
    let mut connection = connect(worker.port);
    connection.send("POST", PATH, &[JSON], body).unwrap();
    connection
}

#[test]
fn the_answer_has_all_its_parts() {
    let worker = Worker::start();
    let answer = post_empty(worker.port, PATH).ok();
    assert_eq!(answer["worker"]["pid"], worker.pid());
    assert_eq!(answer["calculation"]["input"], 35);
    assert_eq!(answer["calculation"]["result"], 9_227_465);
    let duration = answer["calculation"]["duration"].as_str().unwrap();
    let millis: u64 = duration.strip_suffix("ms").unwrap().parse().unwrap();
    assert!(millis >= 5, "30 million calls take longer than {duration}");
    let message = format!("Fibonacci(35) = 9227465 calculated in {duration} by worker 0");
    assert_eq!(answer["message"], message);
}

#[test]
fn computing_leaves_other_routes_fast() {
    let worker = Worker::start_with(&[], &[("CLUSTER_CPU_THREADS", "1")]);
    let computing = begin(&worker, LONG);
    let mut slowest = Duration::ZERO;
    for _ in 0..50 {
        for path in ["/health", "/cluster/info"] {
            let began = Instant::now();
            get(worker.port, path).ok();
            slowest = slowest.max(began.elapsed());
        }
    }
    assert!(slowest < Duration::from_millis(500), "an answer took {slowest:?}");
    drop(computing);
}

#[test]
fn the_upper_bound_can_be_set() {
    let worker = Worker::start_with(&[], &[("CLUSTER_FIBONACCI_MAX", "20")]);
    post(worker.port, PATH, "{\"n\": 21}").assert_problem(400, &["from 0 to 20", "{\"n\": 20}"]);
    assert_eq!(post_empty(worker.port, PATH).ok()["calculation"]["input"], 20);
}

#[test]
fn a_full_queue_refuses_and_a_client_that_leaves_frees_its_place() {
    // Below a primary, which closes a connection only when it gives it up.
    let worker =
        crate::supervised::Worker::start_with(&[("CLUSTER_CPU_THREADS", "1"), ("CLUSTER_CPU_QUEUE", "1")]);
    let begin = |body: &[u8]| {
        let mut connection = connect(worker.port);
        connection.send("POST", PATH, &[JSON], body).unwrap();
        connection
    };
    let refused = || {
        let response = post(worker.port, PATH, "{\"n\": 1}");
        if response.status == 503 {
            response.assert_problem(503, &["queue"]);
            assert_eq!(response.header("retry-after"), Some("1"));
        }
        response.status == 503
    };
    let running = begin(LONG);
    let waiting = begin(b"{\"n\": 10}");
    let mut asked = 0;
    wait_until("both requests have arrived", Duration::from_secs(5), || {
        asked += 1;
        get(worker.port, "/cluster/info").ok()["stats"]["requestCount"] == 2 + asked
    });
    assert!(refused(), "one computes, one waits");
    drop(waiting);
    let mut second = None;
    wait_until("the place is free", Duration::from_secs(2), || {
        let mut connection = begin(b"{\"n\": 12}");
        connection.set_read_timeout(Duration::from_millis(50)).unwrap();
        match connection.receive(false) {
            Ok(response) => {
                assert_eq!(response.status, 503);
                false
            }
            // No answer yet: it waits in the queue.
            Err(_) => {
                second = Some(connection);
                true
            }
        }
    });
    assert!(refused());
    drop((running, second));
}
