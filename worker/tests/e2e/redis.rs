//! The worker with Redis: absent at start, lost, back.

use std::time::{Duration, Instant};

use serde_json::json;

use shared_testkit::connection::Answer;

use shared_testkit::wait_until;

use crate::http::{FromWorker, get, post, post_empty};
use crate::process::Worker;
use shared_testkit::redis_server::RedisServer;

const ANSWER_LIMIT: Duration = Duration::from_secs(2);
const RECOVERY_LIMIT: Duration = Duration::from_secs(5);

fn start(server: &RedisServer) -> Worker {
    Worker::start_with(&[], &[("REDIS_URL", &server.url())])
}

/// Each store route says 503 in time; everything else goes on.
fn assert_degraded(worker: &Worker) {
    let calls: [&dyn Fn() -> Answer; 3] = [
        &|| post(worker.port, "/cluster/shared-state", r#"{"key":"k","value":1}"#),
        &|| get(worker.port, "/cluster/shared-state/k"),
        &|| post_empty(worker.port, "/cluster/shared-state/k/increment"),
    ];
    for call in calls {
        let began = Instant::now();
        let response = call();
        response.assert_problem(503, &["store"]);
        assert_eq!(response.header("retry-after"), Some("1"));
        assert!(began.elapsed() < ANSWER_LIMIT, "it took {:?}", began.elapsed());
    }
    let began = Instant::now();
    get(worker.port, "/cluster/info").ok();
    get(worker.port, "/health").ok();
    assert!(began.elapsed() < Duration::from_millis(500));
}

fn health_becomes(worker: &Worker, status: &str, reachable: bool) {
    wait_until(status, RECOVERY_LIMIT, || {
        let health = get(worker.port, "/health").ok();
        health["status"] == status && health["store"] == json!({"backend": "redis", "reachable": reachable})
    });
}

#[test]
#[ignore = "needs redis-server: bash .ci/setup"]
fn the_routes_name_redis() {
    let server = RedisServer::start();
    let worker = start(&server);
    let stored = post(worker.port, "/cluster/shared-state", r#"{"key":"k","value":[1]}"#).ok();
    assert_eq!(stored["action"], "stored_in_redis");
    assert_eq!(stored["message"], "This value is now shared across all workers via Redis");
    let read = get(worker.port, "/cluster/shared-state/k").ok();
    assert_eq!(read["message"], "Retrieved from Redis by worker 0");
    assert_eq!(read["value"], json!([1]));
    post_empty(worker.port, "/cluster/shared-state/k/increment").assert_problem(409, &["not an integer"]);
    health_becomes(&worker, "ok", true);
}

#[test]
#[ignore = "needs redis-server: bash .ci/setup"]
fn a_start_without_redis_serves_the_rest_and_says_so() {
    let mut server = RedisServer::start();
    server.stop();
    let worker = start(&server);
    let warning = worker.wait_for_log("started without the store");
    assert_eq!(warning["level"], "WARN");
    health_becomes(&worker, "degraded", false);
    assert_degraded(&worker);
    server.run();
    health_becomes(&worker, "ok", true);
    assert_eq!(post_empty(worker.port, "/cluster/shared-state/k/increment").ok()["value"], 1);
    worker.wait_for_log("answers again");
}

#[test]
#[ignore = "needs redis-server: bash .ci/setup"]
fn redis_lost_and_back() {
    let mut server = RedisServer::start();
    let worker = start(&server);
    health_becomes(&worker, "ok", true);
    post_empty(worker.port, "/cluster/shared-state/k/increment").ok();
    server.stop();
    assert_degraded(&worker);
    health_becomes(&worker, "degraded", false);
    worker.wait_for_log("lost the store");
    server.run();
    let back = Instant::now();
    wait_until("counting works", RECOVERY_LIMIT, || {
        post_empty(worker.port, "/cluster/shared-state/k/increment").status == 200
    });
    assert!(back.elapsed() < RECOVERY_LIMIT);
    health_becomes(&worker, "ok", true);
    worker.wait_for_log("answers again");
    let warnings = worker.log().iter().filter(|entry| entry["level"] == "WARN").count();
    assert_eq!(warnings, 1, "one line for one loss: {:#?}", worker.log());
}

#[test]
#[ignore = "needs redis-server: bash .ci/setup"]
fn a_frozen_redis_takes_only_its_own_routes_away() {
    let server = RedisServer::start();
    let worker = start(&server);
    post_empty(worker.port, "/cluster/shared-state/k/increment").ok();
    server.freeze();
    assert_degraded(&worker);
    server.thaw();
    wait_until("reading works", RECOVERY_LIMIT, || get(worker.port, "/cluster/shared-state/k").status == 200);
}
