//! The disruptive checks, against balancers that cannot cope.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use serde_json::Value;

use crate::harness::{Outcome, verify};
use crate::misbehaving::{Fault, Server, sleeper};

const FAULT_VARIABLE: &str = "MISBEHAVING_BALANCER";
const ARGUMENTS_VARIABLE: &str = "MISBEHAVING_ARGUMENTS";

const TABLE: &[(Fault, &str)] = &[
    (Fault::NeverRestarts, "crash"),
    (Fault::RestartsAll, "crash"),
    (Fault::DropsRequests, "crash"),
    (Fault::ForgetsOnCrash, "repeated-crash"),
    (Fault::IgnoresHang, "hang"),
    (Fault::DiesOnTerm, "graceful-stop"),
    (Fault::LeavesOrphan, "primary-killed"),
    (Fault::HangsWithoutRedis, "redis-outage"),
];

/// This very program is the balancer, when a wrapper says so.
#[test]
#[ignore = "it is the balancer of the other tests and runs until it is killed"]
fn misbehaving_balancer() {
    let name = std::env::var(FAULT_VARIABLE).expect("the wrapper says what is to be wrong");
    let row = TABLE.iter().find(|(fault, _)| format!("{fault:?}") == name);
    let (fault, _) = row.expect("the wrapper names a fault of the table");
    let arguments = std::env::var(ARGUMENTS_VARIABLE).unwrap_or_default();
    let redis: Option<SocketAddr> =
        arguments.split_once("redis://").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
    let server = Server::with_redis(*fault, redis);
    let _orphan = (*fault == Fault::LeavesOrphan).then(sleeper);
    eprintln!("{{\"address\": \"{}\"}}", server.address);
    loop {
        thread::park();
    }
}

/// Writes a program that is a balancer with a fault.
fn wrapper(directory: &Path, fault: Fault) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let path = directory.join("balancer");
    let script = format!(
        "#!/bin/sh\n{ARGUMENTS_VARIABLE}=\"$*\" {FAULT_VARIABLE}={fault:?} exec '{}' \
         --exact disruption::misbehaving_balancer --ignored --nocapture\n",
        own.display()
    );
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn judge(fault: Fault, meant: &str) -> Outcome {
    let directory = tempfile::tempdir().unwrap();
    let balancer = wrapper(directory.path(), fault);
    verify(&["--spawn", "--balancer", balancer.to_str().unwrap(), "--only", meant, "--format", "json"])
}

#[test]
fn each_fault_is_caught_by_the_check_meant_for_it() {
    let redis = Command::new("redis-server").arg("--version").output().is_ok();
    let rows: Vec<_> = TABLE.iter().filter(|(_, meant)| redis || *meant != "redis-outage").collect();
    let outcomes: Vec<_> = thread::scope(|scope| {
        let running: Vec<_> =
            rows.iter().map(|&&(fault, meant)| scope.spawn(move || judge(fault, meant))).collect();
        running.into_iter().map(|row| row.join().unwrap()).collect()
    });
    let mut problems = Vec::new();
    for ((fault, meant), outcome) in rows.iter().zip(outcomes) {
        println!("{:18} {meant:18} {:<5} {}", format!("{fault:?}"), outcome.code, figure(&outcome));
        if outcome.code != 1 || outcome.of(meant) != "failed" {
            problems.push(format!("{fault:?}: {outcome:?}"));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

fn figure(outcome: &Outcome) -> Value {
    serde_json::from_str::<Value>(&outcome.stdout).unwrap_or_default()["checks"][0]["figure"].clone()
}

#[test]
fn a_balancer_that_does_not_start_is_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("balancer");
    std::fs::write(&path, "#!/bin/sh\necho no such luck >&2\nexit 7\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let outcome = verify(&["--spawn", "--balancer", path.to_str().unwrap()]);
    assert_eq!(outcome.code, 3, "{outcome:?}");
    assert!(outcome.stderr.contains("exit status: 7 at start; its last words: no such luck"), "{outcome:?}");
}

/// The balancer itself, with other answers of its subcommands.
fn lying(directory: &Path, cases: &str) -> PathBuf {
    let real = crate::harness::balancer();
    let path = directory.join("balancer");
    let script = format!(
        "#!/bin/sh\nreal='{}'\ncase \"$1\" in\n{cases}\nesac\nexec \"$real\" \"$@\"\n",
        real.display()
    );
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn changes_that_are_said_and_not_done_are_seen() {
    for (cases, check, outcome, code) in [
        ("reload) exit 0 ;;", "reload", "failed", 1),
        ("reload) exit 0 ;;", "broken-reload", "failed", 1),
        ("scale) exit 0 ;;", "scale", "failed", 1),
        ("reload) exit 2 ;;", "reload", "inconclusive", 4),
        ("scale) exit 2 ;;", "scale", "inconclusive", 4),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let path = lying(directory.path(), cases);
        let arguments = [
            "--spawn",
            "--workers",
            "2",
            "--balancer",
            path.to_str().unwrap(),
            "--only",
            check,
            "--format",
            "json",
        ];
        let judged = verify(&arguments);
        assert_eq!((judged.of(check).as_str(), judged.code), (outcome, code), "{cases}: {judged:?}");
    }
}
