//! Workers that reach a limit are replaced, one after the other, unnoticed.

use crate::harness::{Balancer, Cluster, Connection, eventually};
use crate::load::Load;
use std::collections::BTreeSet;

/// Looks until `done`, and asserts that at no look more than one worker was missing.
fn never_more_than_one_missing(cluster: &Cluster, mut done: impl FnMut(&BTreeSet<u32>) -> bool) {
    let mut seen = BTreeSet::new();
    eventually("enough workers were replaced", || {
        let counts = cluster.admin("/health").json()["workers"].clone();
        let (online, desired) = (counts["online"].as_u64().unwrap(), counts["desired"].as_u64().unwrap());
        assert!(online + 1 >= desired, "{counts}");
        seen.extend(cluster.worker_pids());
        done(&seen).then_some(())
    });
}

#[test]
fn workers_are_replaced_after_their_requests_and_no_client_notices() {
    let cluster = Balancer::cluster(3).with(&["--max-requests", "50"]).start_ready();
    let load = Load::start(&cluster, 4);
    never_more_than_one_missing(&cluster, |seen| seen.len() >= 12);
    load.finish_unharmed();
    let metrics = cluster.admin("/metrics").text();
    assert!(metrics.contains("reason=\"max-requests\""), "{metrics}");
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn workers_are_replaced_at_their_age_and_finish_what_they_have() {
    let cluster = Balancer::program(2, &["--max-lifetime", "1s"]).start_ready();
    let load = Load::of(&cluster, 2, "/pid", true);
    let mut slow = Connection::open(cluster.address).unwrap();
    slow.send("GET", "/slow?ms=2500", &[], b"").unwrap();
    never_more_than_one_missing(&cluster, |seen| seen.len() >= 6);
    assert_eq!(slow.receive(false).unwrap().text(), "slow");
    load.finish_unharmed();
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn memory_that_is_kept_counts_and_a_spike_does_not() {
    let cluster = Balancer::program(1, &["--max-memory", "150MiB"]).start_ready();
    let before = cluster.worker_pids();
    let resident = || -> f64 {
        let workers = cluster.workers();
        workers[0]["rss"].as_str().unwrap().strip_suffix(" MB").unwrap().parse().unwrap()
    };
    let mut spike = Connection::open(cluster.address).unwrap();
    spike.send("GET", "/spike?mb=200", &[], b"").unwrap();
    eventually("it uses more than its limit", || (resident() > 200.0).then_some(()));
    assert_eq!(spike.receive(false).unwrap().text(), "over", "after several looks");
    eventually("it uses less again", || (resident() < 150.0).then_some(()));
    assert_eq!(cluster.worker_pids(), before);
    assert!(!cluster.admin("/metrics").text().contains("max-memory"));
    assert_eq!(cluster.get("/keep?mb=200").status, 200);
    let mut slow = Connection::open(cluster.address).unwrap();
    slow.send("GET", "/slow?ms=9000", &[], b"").unwrap();
    eventually("it is replaced", || (cluster.worker_pids() != before).then_some(()));
    assert_eq!(slow.receive(false).unwrap().text(), "slow", "the old one finished it");
}
