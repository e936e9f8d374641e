//! Upgrades that must not begin, and what is left of those that come to nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;

use rustix::process::Signal;
use serde_json::Value;

use super::{Last, failure, stop, try_upgrade, upgrade};
use crate::harness::{Balancer, Cluster, eventually, is_alive};

/// Its workers take a second to start.
const SLOW: [&str; 5] =
    ["--", "/bin/sh", "-c", "sleep 1; exec python3 -m http.server $PORT --bind $HOST", "sh"];

fn slow(workers: u32, options: &[&str]) -> Cluster {
    let balancer = Balancer::cluster(workers).with(&["--health-path", "/"]).with(options).with(&SLOW);
    balancer.env("PATH", &std::env::var("PATH").unwrap()).start_ready()
}

fn operate(cluster: &Cluster, arguments: &[&str]) -> thread::JoinHandle<bool> {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_balancer"));
    command.args(arguments).arg("--control").arg(&cluster.control).env_clear();
    thread::spawn(move || command.output().unwrap().status.success())
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn no_upgrade_begins_while_workers_change() {
    let cluster = slow(2, &["--reload-mode", "one-by-one"]);
    let mut last = Last::none();
    for (change, begun, why) in [
        (&["reload"][..], "reload begins, one by one", "a reload is under way"),
        (&["reload", "--mode", "all"], "reload begins\"", "a reload is under way"),
        (&["scale", "3"], "scaling", "the cluster is being scaled"),
    ] {
        let changing = operate(&cluster, change);
        eventually(begun, || cluster.log().iter().any(|line| line.contains(begun)).then_some(()));
        let reason = failure(&try_upgrade(&cluster, &[], &[]));
        assert!(reason.contains(why), "{change:?}: {reason}");
        assert!(changing.join().unwrap(), "{change:?}");
    }
    let pid = upgrade(&cluster, &mut last, &[], &[]);
    stop(&cluster, pid);
}

/// An executable script in the directory of `cluster`.
pub(super) fn script(cluster: &Cluster, text: &str) -> PathBuf {
    let path = cluster.directory().join("script");
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

pub(super) fn written_pid(path: &Path) -> u32 {
    eventually("the script has begun", || fs::read_to_string(path).ok()?.trim().parse().ok())
}

#[test]
fn what_a_script_has_started_ends_with_it() {
    let cluster = Balancer::cluster(1).start_ready();
    let note = cluster.directory().join("note");
    let path = script(&cluster, &format!("/bin/sleep 300 & echo $! > {}; exit 3", note.display()));
    let reason = failure(&try_upgrade(&cluster, &["--executable", path.to_str().unwrap()], &[]));
    assert!(reason.contains("exit status: 3"), "{reason}");
    let left = written_pid(&note);
    eventually("nothing is left of it", || (!is_alive(left)).then_some(()));
    assert_eq!(cluster.get("/cluster/info").status, 200);
}

#[test]
fn a_stop_ends_what_a_script_has_started_and_is_said_to_who_has_asked_for_the_upgrade() {
    let mut cluster = Balancer::cluster(1).start_ready();
    let note = cluster.directory().join("note");
    let path = script(&cluster, &format!("/bin/sleep 300 & echo $! > {}; wait", note.display()));
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_balancer"));
    command.args(["upgrade", "--json", "--executable"]).arg(path).arg("--control").arg(&cluster.control);
    let upgrade = thread::spawn(move || command.env_clear().output().unwrap());
    let left = written_pid(&note);
    assert_eq!(cluster.operate(&["stop"]).0, 0);
    assert!(cluster.wait().success());
    let output = upgrade.join().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let failed: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert!(failed["reason"].as_str().unwrap().contains("the cluster stops"), "{said}");
    eventually("nothing is left of it", || (!is_alive(left)).then_some(()));
}

#[test]
fn a_balancer_that_a_script_has_started_as_its_child_ends_with_its_workers() {
    let cluster = Balancer::cluster(1).start_ready();
    let note = cluster.directory().join("note");
    let begin = format!("{} --port 0 --admin off --workers 1 &", env!("CARGO_BIN_EXE_balancer"));
    // It goes on once the child has a worker.
    let wait = "until worker=$(/bin/cat /proc/$child/task/$child/children) && [ -n \"$worker\" ]; do \
                /bin/sleep 0.05; done";
    let text = format!("{begin} child=$!; {wait}; echo $child $worker > {}; exit 3", note.display());
    let path = script(&cluster, &text);
    let reason = failure(&try_upgrade(&cluster, &["--executable", path.to_str().unwrap()], &[]));
    assert!(reason.contains("exit status: 3"), "{reason}");
    let pids = fs::read_to_string(&note).unwrap();
    let pids: Vec<u32> = pids.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
    assert_eq!(pids.len(), 2);
    assert!(!is_alive(pids[0]), "it is gone when the failure is told");
    eventually("so is its worker", || (!is_alive(pids[1])).then_some(()));
    assert_eq!(cluster.worker_pids().len(), 1, "the one that serves is not touched");
}

#[test]
fn a_single_process_outlives_signals_that_are_for_a_primary() {
    let mut cluster = Balancer::new(&["--port", "0", "--cluster", "off"]).start_ready();
    for signal in [Signal::USR2, Signal::USR1] {
        cluster.signal(signal);
    }
    eventually("both are said", || {
        let log = cluster.log();
        let says = |words: &str| log.iter().any(|line| line.contains(words));
        (says("SIGUSR2 does nothing") && says("SIGUSR1 does nothing")).then_some(())
    });
    assert_eq!(cluster.get("/cluster/info").status, 200);
    cluster.signal(Signal::TERM);
    assert!(cluster.wait().success());
}
