//! The table check × mutant: each fault is caught by the check meant for it.

use std::collections::BTreeSet;
use std::thread;

use crate::harness::{Cluster, Outcome, Redis, verify};
use crate::misbehaving::{Fault, Server};

/// A fault, the check meant for it, and the others that catch it as well.
const TABLE: &[(Fault, &str, &[&str])] = &[
    (Fault::Flaky, "availability", &["round-robin", "coverage", "workers", "headers"]),
    (Fault::Unused, "coverage", &["balance", "round-robin", "workers", "cpu-distribution"]),
    (Fault::SixtyForty, "balance", &["round-robin"]),
    (Fault::Random, "round-robin", &["cpu-distribution"]),
    (Fault::StatePerWorker, "shared-state", &["shared-counter", "expiry", "errors"]),
    (Fault::LostIncrement, "shared-counter", &[]),
    (Fault::NeverExpires, "expiry", &[]),
    (Fault::SharedCounter, "local-state", &[]),
    (Fault::Serial, "cpu-distribution", &["cpu-interference"]),
    (Fault::BlocksEventLoop, "cpu-interference", &[]),
    (Fault::RenamedMemory, "memory", &[]),
    (Fault::PlainErrors, "errors", &[]),
    (Fault::ForgetsRequestId, "headers", &[]),
    (Fault::LeaksDescriptors, "leaks", &[]),
    (Fault::DeadWorker, "workers", &["coverage", "balance", "round-robin", "cpu-distribution"]),
    (Fault::WrongForm, "conformance", &[]),
];

/// Slow ones run where they matter.
const SLOW: [&str; 4] = ["balance", "cpu-interference", "expiry", "leaks"];

fn judge(fault: Fault, meant: &str, also: &[&str]) -> Outcome {
    let server = Server::start(fault);
    // Real processes stand for workers here; their memory is not what they say.
    if fault == Fault::LeaksDescriptors {
        return verify(&["--url", &server.url(), "--format", "json", "--only", meant]);
    }
    let skip: Vec<&str> = SLOW.into_iter().filter(|name| *name != meant && !also.contains(name)).collect();
    verify(&["--url", &server.url(), "--format", "json", "--skip", &skip.join(",")])
}

fn failed(outcome: &Outcome) -> BTreeSet<String> {
    let checks = outcome.checks();
    let failed = checks.iter().filter(|check| check["outcome"] == "failed");
    failed.map(|check| check["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn each_fault_is_caught_by_the_check_meant_for_it() {
    let mut problems = Vec::new();
    println!("{:18} {:18} {:5} failed", "fault", "meant", "exit");
    for rows in TABLE.chunks(4) {
        let outcomes: Vec<_> = thread::scope(|scope| {
            let running: Vec<_> = rows
                .iter()
                .map(|&(fault, meant, also)| scope.spawn(move || judge(fault, meant, also)))
                .collect();
            running.into_iter().map(|row| row.join().unwrap()).collect()
        });
        for (&(fault, meant, also), outcome) in rows.iter().zip(outcomes) {
            let failed = failed(&outcome);
            println!("{:18} {meant:18} {:<5} {failed:?}", format!("{fault:?}"), outcome.code);
            let expected = |name: &String| name == meant || also.contains(&name.as_str());
            if !failed.contains(meant) || outcome.code != 1 || !failed.iter().all(expected) {
                problems.push(format!("{fault:?}: exit {}, {}", outcome.code, outcome.stdout));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn every_check_of_a_running_cluster_has_its_fault() {
    let meant: BTreeSet<&str> = TABLE.iter().map(|row| row.1).collect();
    // What Redis holds is compared with the real cluster.
    let live = verify::checks::ALL.iter().filter(|check| !check.disruptive && check.name != "out-of-band");
    assert_eq!(live.map(|check| check.name).collect::<BTreeSet<_>>(), meant);
}

#[test]
fn a_server_without_a_fault_passes() {
    let server = Server::start(Fault::None);
    let outcome = verify(&["--url", &server.url(), "--format", "json"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert_eq!(outcome.of("balance"), "passed");
    for check in ["out-of-band", "leaks", "conformance"] {
        assert_eq!(outcome.of(check), "not-applicable", "{check}");
    }
    assert_eq!(outcome.json()["summary"]["passed"], 14);
}

#[test]
fn one_worker_that_gets_everything_is_unevenness_and_proves_nothing_else() {
    let server = Server::start(Fault::Sticky);
    let outcome = verify(&["--url", &server.url(), "--format", "json", "--skip", &SLOW[1..].join(",")]);
    assert_eq!(outcome.code, 1);
    for check in ["coverage", "balance", "round-robin"] {
        assert_eq!(outcome.of(check), "failed", "{check}");
    }
    // Nothing is passed on the word of one worker alone.
    for check in ["shared-state", "shared-counter", "local-state", "memory"] {
        assert_eq!(outcome.of(check), "inconclusive", "{check}");
    }
    let only = verify(&["--url", &server.url(), "--only", "shared-state,local-state"]);
    assert_eq!(only.code, 4, "{only:?}");
    assert!(only.stdout.contains("not ok 1 - shared-state # TODO inconclusive: 1 of 16 pairs"), "{only:?}");
    assert!(only.stdout.ends_with("# 0 passed, 0 failed, 2 inconclusive\n"), "{only:?}");
}

#[test]
fn a_failure_says_what_who_and_how_to_see_it_again() {
    let server = Server::start(Fault::SharedCounter);
    let url = server.url();
    let outcome = verify(&["--url", &url, "--only", "local-state", "--format", "pretty"]);
    assert_eq!(outcome.code, 1);
    for part in [
        "✗ local-state",
        "expected  b+1 … b+n per process",
        "evidence  worker 1 (pid 2000000001) answered ",
        &format!("again  verify --url {url} --only local-state"),
    ] {
        assert!(outcome.stdout.contains(part), "{part}: {}", outcome.stdout);
    }
    assert!(outcome.stdout.ends_with("0 passed, 1 failed, 0 inconclusive\n"));
}

#[test]
fn what_redis_holds_is_compared_with_what_the_api_says() {
    let Some(redis) = Redis::start() else {
        eprintln!("redis-server is not installed: nothing to compare with");
        return;
    };
    let url = redis.url();
    let judge = |target: &str| {
        verify(&["--url", target, "--redis-url", &url, "--only", "out-of-band", "--format", "json"])
    };
    let cluster = Cluster::start(&["--workers", "2", "--redis-url", &url]);
    assert_eq!(judge(&cluster.url()).of("out-of-band"), "passed");
    // Keeps its state elsewhere, whatever it says.
    let server = Server::start(Fault::None);
    let outcome = judge(&server.url());
    assert_eq!((outcome.of("out-of-band").as_str(), outcome.code), ("failed", 1), "{outcome:?}");
    // Says that it does.
    let embedded = Cluster::start(&["--workers", "1"]);
    assert_eq!(judge(&embedded.url()).of("out-of-band"), "not-applicable");
}
