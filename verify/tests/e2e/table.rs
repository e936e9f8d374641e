//! The table check × mutant: each check has a fault that it is meant to catch, and
//! each fault is caught by the check meant for it.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;

use crate::disruption::balancer_with;
use crate::fault::Fault;
use crate::harness::{Outcome, verify};
use crate::misbehaving::Server;
use shared_testkit::redis_server::RedisServer;

/// What is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stand {
    /// A made-up cluster that runs already; all checks that are not slow run.
    Running,
    /// The same with a Redis that it does not use.
    WithRedis,
    /// The same, with processes of this machine for its workers. Only the check that
    /// looks at them runs: what the cluster itself says of them is made up.
    Processes,
    /// A made-up cluster that speaks TLS; the check of that runs, and one other, so that
    /// it is seen whether the fault is in its way.
    Secured,
    /// A program that `verify` starts as if it were the balancer.
    Started,
}

pub struct Row {
    pub fault: Fault,
    stand: Stand,
    /// The check that is meant for it.
    check: &'static str,
    /// Others that may see it as well.
    also: &'static [&'static str],
}

const fn row(fault: Fault, stand: Stand, check: &'static str, also: &'static [&'static str]) -> Row {
    Row { fault, stand, check, also }
}

use Stand::{Running, Secured, Started, WithRedis};

pub const TABLE: &[Row] = &[
    row(Fault::Flaky, Running, "availability", &["round-robin", "coverage", "workers", "headers"]),
    row(Fault::Sticky, Running, "coverage", &["balance", "round-robin", "workers", "cpu-distribution"]),
    row(Fault::Unused, Running, "coverage", &["balance", "round-robin", "workers", "cpu-distribution"]),
    row(Fault::SixtyForty, Running, "balance", &["round-robin"]),
    row(Fault::Random, Running, "round-robin", &["cpu-distribution"]),
    row(Fault::StatePerWorker, Running, "shared-state", &["shared-counter", "expiry", "errors"]),
    row(Fault::LostIncrement, Running, "shared-counter", &[]),
    row(Fault::NeverExpires, Running, "expiry", &[]),
    row(Fault::KeepsStateElsewhere, WithRedis, "out-of-band", &[]),
    row(Fault::SharedCounter, Running, "local-state", &[]),
    row(Fault::Serial, Running, "cpu-distribution", &["cpu-interference"]),
    row(Fault::BlocksEventLoop, Running, "cpu-interference", &[]),
    row(Fault::RenamedMemory, Running, "memory", &[]),
    row(Fault::PlainErrors, Running, "errors", &[]),
    row(Fault::ForgetsRequestId, Running, "headers", &[]),
    row(Fault::LeaksDescriptors, Stand::Processes, "leaks", &[]),
    row(Fault::LeaksSlowly, Stand::Processes, "leaks", &[]),
    row(Fault::LeaksMemory, Stand::Processes, "leaks", &[]),
    row(Fault::DeadWorker, Running, "workers", &["coverage", "balance", "round-robin", "cpu-distribution"]),
    row(Fault::WrongForm, Running, "conformance", &[]),
    row(Fault::TlsOld, Secured, "tls", &[]),
    row(Fault::TlsWithout13, Secured, "tls", &[]),
    row(Fault::TlsExpired, Secured, "tls", &[]),
    row(Fault::TlsWrongName, Secured, "tls", &[]),
    row(Fault::TlsStranger, Secured, "tls", &[]),
    row(Fault::TlsIncompleteChain, Secured, "tls", &[]),
    row(Fault::TlsWrongAlpn, Secured, "tls", &[]),
    row(Fault::TlsPlainAsWell, Secured, "tls", &[]),
    row(Fault::NeverRestarts, Started, "crash", &[]),
    row(Fault::RestartsAll, Started, "crash", &[]),
    row(Fault::DropsRequests, Started, "crash", &[]),
    row(Fault::ForgetsOnCrash, Started, "repeated-crash", &[]),
    row(Fault::IgnoresHang, Started, "hang", &[]),
    row(Fault::DiesOnTerm, Started, "graceful-stop", &[]),
    row(Fault::ReloadDrops, Started, "reload", &[]),
    row(Fault::ReloadOnlySaysSo, Started, "reload", &[]),
    row(Fault::BrokenReloadKills, Started, "broken-reload", &[]),
    row(Fault::BrokenReloadSaysOk, Started, "broken-reload", &[]),
    row(Fault::ScaleDrops, Started, "scale", &[]),
    row(Fault::ScaleOnlySaysSo, Started, "scale", &[]),
    row(Fault::HangsWithoutRedis, Started, "redis-outage", &[]),
    row(Fault::LeavesOrphan, Started, "primary-killed", &[]),
];

/// Slow checks run where they matter.
pub const SLOW: [&str; 4] = ["balance", "cpu-interference", "expiry", "leaks"];
/// Rows that are judged at a time.
const AT_A_TIME: usize = 4;

fn needs_redis(row: &Row) -> bool {
    matches!(row.check, "out-of-band" | "redis-outage")
}

fn judge(row: &Row) -> Outcome {
    let json = ["--format", "json"];
    let only = ["--only", row.check];
    match row.stand {
        Stand::Running => {
            let server = Server::start(row.fault);
            let wanted = |name: &&str| *name == row.check || row.also.contains(name);
            let skip: Vec<&str> = SLOW.into_iter().filter(|name| !wanted(name)).collect();
            verify(&[&["--url", &server.url(), "--skip", &skip.join(",")], &json[..]].concat())
        }
        Stand::WithRedis => {
            let (server, redis) = (Server::start(row.fault), RedisServer::start());
            verify(&[&["--url", &server.url(), "--redis-url", &redis.url()], &only[..], &json].concat())
        }
        Stand::Processes => {
            let server = Server::start(row.fault);
            verify(&[&["--url", &server.url()], &only[..], &json].concat())
        }
        Stand::Secured => {
            let server = Server::secured(row.fault);
            let arguments = server.secured_arguments();
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            verify(&[&arguments[..], &["--only", "availability,tls"], &json].concat())
        }
        Stand::Started => {
            let directory = tempfile::tempdir().unwrap();
            let balancer = balancer_with(row.fault, directory.path());
            verify(&[&["--spawn", "--balancer", balancer.to_str().unwrap()], &only[..], &json].concat())
        }
    }
}

/// The checks that failed, with what they saw.
fn failed(outcome: &Outcome) -> BTreeMap<String, String> {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let failed = outcome.checks().into_iter().filter(|check| check["outcome"] == "failed");
    failed.map(|check| (text(&check["name"]), text(&check["figure"]))).collect()
}

#[test]
fn each_fault_is_caught_by_the_check_meant_for_it() {
    all_are_caught(&TABLE.iter().filter(|row| !needs_redis(row)).collect::<Vec<_>>());
}

#[test]
#[ignore = "needs redis-server: bash .ci/setup"]
fn each_fault_with_redis_is_caught_by_the_check_meant_for_it() {
    all_are_caught(&TABLE.iter().filter(|row| needs_redis(row)).collect::<Vec<_>>());
}

fn all_are_caught(rows: &[&Row]) {
    let mut problems = Vec::new();
    println!("{:20} {:17} {:4} seen by others, and what was seen", "fault", "caught by", "exit");
    for rows in rows.chunks(AT_A_TIME) {
        let outcomes: Vec<_> = thread::scope(|scope| {
            let running: Vec<_> = rows.iter().map(|row| scope.spawn(move || judge(row))).collect();
            running.into_iter().map(|row| row.join().unwrap()).collect()
        });
        for (row, outcome) in rows.iter().zip(outcomes) {
            let fault = format!("{:?}", row.fault);
            let failed = failed(&outcome);
            let others: Vec<&str> =
                failed.keys().map(String::as_str).filter(|name| *name != row.check).collect();
            let seen = failed.get(row.check).map_or("", String::as_str);
            println!("{fault:20} {:17} {:<4} [{}] {seen}", row.check, outcome.code, others.join(", "));
            let expected = others.iter().all(|name| row.also.contains(name));
            if !failed.contains_key(row.check) || outcome.code != 1 || !expected {
                problems.push(format!("{fault}: exit {}, {}", outcome.code, outcome.stdout));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn every_check_has_its_fault() {
    let checks: BTreeSet<&str> = verify::checks::ALL.iter().map(|check| check.name).collect();
    assert_eq!(TABLE.iter().map(|row| row.check).collect::<BTreeSet<_>>(), checks);
    for row in TABLE {
        let check = verify::checks::ALL.iter().find(|check| check.name == row.check).unwrap();
        assert_eq!(check.disruptive, row.stand == Stand::Started, "{}", row.check);
    }
}
