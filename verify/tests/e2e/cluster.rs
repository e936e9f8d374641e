//! The real balancer keeps its promises, and nothing is left of private ones.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::process::Signal;

use crate::harness::{Cluster, command, eventually, finish, is_alive, send_signal, verify};

#[test]
fn a_healthy_cluster_passes() {
    let cluster = Cluster::start(&["--workers", "3"]);
    let outcome = verify(&["--url", &cluster.url(), "--wait", "30s", "--format", "json"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    for check in ["coverage", "round-robin", "shared-state", "leaks", "conformance"] {
        assert_eq!(outcome.of(check), "passed", "{check}");
    }
    assert_eq!(outcome.stderr, "16 passed, 0 failed, 0 inconclusive\n");
}

#[test]
fn a_private_cluster_survives_what_goes_wrong() {
    survives_all_but("redis-outage,out-of-band");
}

#[test]
#[ignore = "needs redis-server: bash .ci/setup"]
fn a_private_cluster_survives_what_goes_wrong_with_redis() {
    survives_all_but("");
}

fn survives_all_but(skipped: &str) {
    let directory = tempfile::tempdir().unwrap();
    let mut arguments = vec!["--spawn", "--workers", "2", "--format", "json"];
    if !skipped.is_empty() {
        arguments.extend(["--skip", skipped]);
    }
    let child = command(&arguments).env("TMPDIR", directory.path()).spawn().unwrap();
    let outcome = finish(child);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    for check in ["crash", "repeated-crash", "hang", "graceful-stop", "primary-killed"] {
        assert_eq!(outcome.of(check), "passed", "{check}");
    }
    assert_eq!(entries(directory.path()), 0, "nothing is left");
}

fn entries(directory: &Path) -> usize {
    std::fs::read_dir(directory).unwrap().count()
}

#[test]
fn a_single_process_is_inconclusive_where_it_takes_several() {
    let cluster = Cluster::start(&["--cluster", "off"]);
    let outcome = verify(&[
        "--url",
        &cluster.url(),
        "--only",
        "availability,coverage,balance,errors",
        "--format",
        "json",
    ]);
    assert_eq!(outcome.code, 4, "{outcome:?}");
    assert_eq!((outcome.of("availability"), outcome.of("errors")), ("passed".into(), "passed".into()));
    assert_eq!(
        (outcome.of("coverage"), outcome.of("balance")),
        ("inconclusive".into(), "inconclusive".into())
    );
}

#[test]
fn fewer_workers_than_expected_are_a_failure() {
    let cluster = Cluster::start(&["--workers", "2"]);
    let arguments =
        ["--url", &cluster.url(), "--workers", "3", "--only", "coverage,workers", "--format", "json"];
    let outcome = verify(&arguments);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert_eq!((outcome.of("coverage"), outcome.of("workers")), ("failed".into(), "failed".into()));
}

/// A run that is in the middle of a disruptive check, with the pids below it.
fn in_the_middle(directory: &Path, check: &str) -> (Child, Vec<u32>) {
    let mut child = command(&["--spawn", "--workers", "2", "--only", &format!("availability,{check}")])
        .env("TMPDIR", directory)
        .spawn()
        .unwrap();
    // The first check's line says that the second one runs.
    let mut out = BufReader::new(child.stdout.as_mut().unwrap());
    eventually("the first check is over", || {
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        line.starts_with("ok 1 - availability").then_some(())
    });
    drop(out);
    // Two clusters of three processes each, at least.
    let processes = eventually("the second cluster runs", || {
        let pids: Vec<u32> = verify::proc::descendants(child.id()).iter().map(|one| one.pid).collect();
        (pids.len() >= 6).then_some(pids)
    });
    (child, processes)
}

#[test]
fn an_interruption_ends_in_order_with_a_partial_report() {
    let directory = tempfile::tempdir().unwrap();
    let (child, processes) = in_the_middle(directory.path(), "hang");
    send_signal(child.id(), Signal::INT);
    let outcome = finish(child);
    assert_eq!(outcome.code, 130, "{outcome:?}");
    assert!(
        outcome.stdout.contains(
            "Bail out! interrupted during hang: 1 check without a verdict\n# 1 passed, 0 failed, 0 inconclusive\n"
        ),
        "{outcome:?}"
    );
    assert!(!processes.iter().any(|&pid| is_alive(pid)), "nothing is left when it has ended");
    assert_eq!(entries(directory.path()), 0);
}

#[test]
#[ignore = "needs redis-server: bash .ci/setup"]
fn an_interrupted_outage_is_undone() {
    let directory = tempfile::tempdir().unwrap();
    let (child, processes) = in_the_middle(directory.path(), "redis-outage");
    // A frozen server must not be left behind, stopped as it is.
    eventually("Redis is frozen", || processes.iter().any(|&pid| is_stopped(pid)).then_some(()));
    send_signal(child.id(), Signal::TERM);
    let outcome = finish(child);
    assert_eq!(outcome.code, 143, "{outcome:?}");
    assert!(!processes.iter().any(|&pid| is_alive(pid)), "nothing is left when it has ended");
    assert_eq!(entries(directory.path()), 0);
}

fn is_stopped(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
}

#[test]
fn an_interruption_before_the_first_check_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let child = command(&["--spawn", "--workers", "16"]).env("TMPDIR", directory.path()).spawn().unwrap();
    eventually("the cluster is about to start", || {
        (!verify::proc::descendants(child.id()).is_empty()).then_some(())
    });
    send_signal(child.id(), Signal::INT);
    let outcome = finish(child);
    assert_eq!(outcome.code, 130, "{outcome:?}");
    assert_eq!(outcome.stderr, "verify: interrupted before the first check\n");
    assert_eq!(entries(directory.path()), 0);
}

#[test]
fn a_reload_meanwhile_is_no_failure() {
    let cluster = Cluster::start(&["--workers", "2"]);
    let stop = AtomicBool::new(false);
    let (outcome, reloads) = thread::scope(|scope| {
        let reloading = scope.spawn(|| {
            let mut reloads = 0;
            while !stop.load(Ordering::SeqCst) {
                cluster.reload();
                reloads += 1;
            }
            reloads
        });
        let outcome = verify(&[
            "--url",
            &cluster.url(),
            "--only",
            "availability,coverage,balance,round-robin,shared-state,shared-counter,local-state,errors,workers",
            "--format",
            "json",
        ]);
        stop.store(true, Ordering::SeqCst);
        (outcome, reloading.join().unwrap())
    });
    let failed: Vec<_> = outcome.checks().into_iter().filter(|check| check["outcome"] == "failed").collect();
    assert!(failed.is_empty(), "{failed:#?}");
    // What does not depend on who the workers are is judged all the same.
    for check in ["availability", "shared-state", "shared-counter", "errors"] {
        assert_eq!(outcome.of(check), "passed", "{check}: {outcome:?}");
    }
    assert!(reloads >= 2, "{reloads} reloads were in time");
}

#[test]
fn nothing_outlives_a_run_that_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let (mut child, processes) = in_the_middle(directory.path(), "hang");
    child.kill().unwrap();
    child.wait().unwrap();
    eventually("nothing is left", || (!processes.iter().any(|&pid| is_alive(pid))).then_some(()));
}
