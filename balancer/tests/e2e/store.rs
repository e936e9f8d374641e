//! Shared state through the balancer, with both stores.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Balancer, Cluster, Connection, eventually};
use shared_testkit::redis_server::RedisServer;

/// Counts with many clients at once and returns what the store has at the end.
fn count_together(cluster: &Cluster, clients: usize, each: usize) -> u64 {
    let address = cluster.address;
    let clients: Vec<_> = (0..clients)
        .map(|_| {
            thread::spawn(move || {
                let mut connection = Connection::open(address).unwrap();
                for _ in 0..each {
                    let kind = [("content-type", "application/json")];
                    connection
                        .send("POST", "/cluster/shared-state/hits/increment", &kind, br#"{"by":1}"#)
                        .unwrap();
                    let answer = connection.receive(false).unwrap();
                    assert_eq!(answer.status, 200, "{}", answer.text());
                }
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    cluster.get("/cluster/shared-state/hits").json()["value"].as_u64().unwrap()
}

#[test]
fn increments_are_exact_with_the_embedded_store() {
    let cluster = Balancer::cluster(4).start_ready();
    assert_eq!(count_together(&cluster, 16, 25), 400);
}

#[test]
#[ignore = "needs redis-server: bash .ci/setup"]
fn increments_are_exact_with_redis() {
    let redis = RedisServer::start();
    let cluster = Balancer::cluster(4).with(&["--redis-url", &redis.url()]).start_ready();
    assert_eq!(count_together(&cluster, 16, 25), 400);
    let stored = cluster.post("/cluster/shared-state", &json!({"key": "k", "value": 1})).json();
    assert_eq!(stored["action"], "stored_in_redis");
    assert_eq!(stored["message"], "This value is now shared across all workers via Redis");
    assert_eq!(cluster.get("/health").json()["store"], json!({"backend": "redis", "reachable": true}));
}

#[test]
fn a_named_state_directory_survives_restarts_and_a_temporary_one_does_not() {
    let named = tempfile::tempdir().unwrap();
    let start = |arguments: &[&str]| Balancer::cluster(1).with(arguments).start_ready();
    let keep = ["--state-dir", named.path().to_str().unwrap()];
    start(&keep).post("/cluster/shared-state", &json!({"key": "kept", "value": [1, 2]}));
    assert_eq!(start(&keep).get("/cluster/shared-state/kept").json()["value"], json!([1, 2]));
    assert_eq!(start(&[]).get("/cluster/shared-state/kept").status, 404);
}

#[test]
fn values_expire() {
    let cluster = Balancer::cluster(2).start_ready();
    cluster.post("/cluster/shared-state", &json!({"key": "brief", "value": 1, "ttlSeconds": 1}));
    assert_eq!(cluster.get("/cluster/shared-state/brief").status, 200);
    eventually("it has expired", || (cluster.get("/cluster/shared-state/brief").status == 404).then_some(()));
}

fn assert_store_is_away(cluster: &Cluster) {
    let start = Instant::now();
    let answer = cluster.post("/cluster/shared-state", &json!({"key": "k", "value": 1}));
    answer.problem(503);
    assert!(answer.header("retry-after").is_some());
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!(cluster.get("/cluster/info").status, 200, "the rest goes on");
}

#[test]
#[ignore = "needs redis-server: bash .ci/setup"]
fn redis_may_be_away_at_the_start_and_come_later() {
    let mut redis = RedisServer::start();
    redis.stop();
    let cluster = Balancer::cluster(2).with(&["--redis-url", &redis.url()]).start_ready();
    assert_store_is_away(&cluster);
    eventually("health says so", || {
        let health = cluster.get("/health");
        (health.status == 200 && health.json()["status"] == "degraded").then_some(())
    });
    assert!(cluster.log().iter().any(|line| line.to_lowercase().contains("redis")), "{:#?}", cluster.log());
    redis.run();
    eventually("the store is back", || {
        (cluster.post("/cluster/shared-state", &json!({"key": "k", "value": 1})).status == 200).then_some(())
    });
    eventually("health is back", || (cluster.get("/health").json()["status"] == "ok").then_some(()));
}

#[test]
#[ignore = "needs redis-server: bash .ci/setup"]
fn redis_may_go_and_come_back() {
    let mut redis = RedisServer::start();
    let cluster = Balancer::cluster(2).with(&["--redis-url", &redis.url()]).start_ready();
    let before = cluster.worker_pids();
    assert_eq!(cluster.post("/cluster/shared-state", &json!({"key": "k", "value": 1})).status, 200);
    redis.stop();
    for _ in 0..4 {
        assert_store_is_away(&cluster);
    }
    redis.run();
    let start = Instant::now();
    eventually("the store is back", || {
        (cluster.post("/cluster/shared-state", &json!({"key": "k", "value": 1})).status == 200).then_some(())
    });
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(cluster.worker_pids(), before, "no worker was restarted over it");
}

#[test]
#[ignore = "needs redis-server: bash .ci/setup"]
fn a_frozen_redis_costs_its_callers_less_than_two_seconds() {
    let redis = RedisServer::start();
    let cluster = Balancer::cluster(2).with(&["--redis-url", &redis.url()]).start_ready();
    assert_eq!(cluster.post("/cluster/shared-state", &json!({"key": "k", "value": 1})).status, 200);
    redis.freeze();
    for _ in 0..2 {
        assert_store_is_away(&cluster);
    }
    redis.thaw();
    eventually("the store is back", || {
        (cluster.post("/cluster/shared-state", &json!({"key": "k", "value": 1})).status == 200).then_some(())
    });
}
