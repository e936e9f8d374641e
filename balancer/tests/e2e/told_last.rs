//! Programs that do not handle SIGTERM: they would be gone at once, with all of their
//! connections, so those are closed one after the other before they are told.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::drains::{UP, assert_spread, ends, has_said, open, realtime};
use crate::harness::{Balancer, Cluster, eventually, is_alive};

const TIME: Duration = Duration::from_secs(4);

/// Two workers without a handler. Node ends them by one of its own, so that only the first of
/// them shows it: a reload is over. On a busy machine it may take another one.
fn known_to_die(options: &[&str]) -> Cluster {
    let cluster = realtime(2, options).env("DIES", "1").start_ready();
    for _ in 0..5 {
        let streams: Vec<_> = (0..8).map(|_| open(&cluster, UP)).collect();
        assert_eq!(cluster.operate(&["reload"]).0, 0);
        let ends = ends(streams, Instant::now());
        if has_said(&cluster, "the program does not handle SIGTERM").is_some() {
            assert!(ends[7] - ends[0] > TIME / 2, "those of one only are cut: {ends:?}");
            return cluster;
        }
    }
    panic!("it is never known: {:?}", cluster.log());
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn a_reload_of_a_program_without_a_handler_spreads_the_ends_of_its_connections() {
    let cluster = known_to_die(&["--drain-timeout", "4s"]);
    let streams: Vec<_> = (0..40).map(|_| open(&cluster, UP)).collect();
    let (old, start) = (cluster.worker_pids(), Instant::now());
    assert_eq!(cluster.operate(&["reload"]).0, 0);
    assert_spread(&ends(streams, start), TIME);
    eventually("the old ones are gone", || old.iter().all(|&pid| !is_alive(pid)).then_some(()));
    assert!(!cluster.log().iter().any(|line| line.contains("did not stop in time")));
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn so_does_a_stop() {
    let mut cluster = known_to_die(&["--drain-timeout", "4s"]);
    let streams: Vec<_> = (0..40).map(|_| open(&cluster, UP)).collect();
    let start = Instant::now();
    cluster.signal(Signal::TERM);
    assert_spread(&ends(streams, start), TIME);
    assert!(cluster.wait().success());
    assert!(has_said(&cluster, "did not stop in time").is_none());
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn a_program_with_a_handler_below_a_wrapper_is_told_early() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/programs/realtime.js");
    // The shell does not handle the signal; what serves does.
    let shell = format!("node {script}; exit");
    let cluster = Balancer::cluster(1)
        .with(&["--health-path", "/slow", "--drain-timeout", "20s", "--", "sh", "-c", &shell])
        .env("PATH", &std::env::var("PATH").unwrap())
        .start_ready();
    let stream = open(&cluster, UP);
    assert_eq!(cluster.operate(&["reload"]).0, 0);
    eventually("it is told while its connection is open", || has_said(&cluster, "told to end with 1 open"));
    drop(stream);
}
