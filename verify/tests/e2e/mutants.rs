//! How servers with one fault, or none, are judged in detail; the table has them all.

use crate::fault::Fault;
use crate::harness::{Cluster, verify};
use crate::misbehaving::Server;
use crate::table::SLOW;
use shared_testkit::redis_server::RedisServer;

#[test]
fn a_server_without_a_fault_passes() {
    let server = Server::start(Fault::None);
    let outcome = verify(&["--url", &server.url(), "--format", "json"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert_eq!(outcome.of("balance"), "passed");
    for check in ["out-of-band", "leaks", "conformance", "tls"] {
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
#[ignore = "needs redis-server: bash .ci/setup"]
fn what_redis_holds_is_compared_with_what_the_api_says() {
    let redis = RedisServer::start();
    let url = redis.url();
    let judge = |target: &str| {
        verify(&["--url", target, "--redis-url", &url, "--only", "out-of-band", "--format", "json"])
    };
    let cluster = Cluster::start(&["--workers", "2", "--redis-url", &url]);
    assert_eq!(judge(&cluster.url()).of("out-of-band"), "passed");
    // It says that Redis is not its store.
    let embedded = Cluster::start(&["--workers", "1"]);
    assert_eq!(judge(&embedded.url()).of("out-of-band"), "not-applicable");
}
