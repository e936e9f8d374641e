//! Reload and scale: all or nothing, and nobody notices.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Balancer, Cluster, Connection, eventually, is_alive, send_signal};
use crate::load::Load;

/// A program that starts as the file says that is returned.
fn with_mode(workers: u32, options: &[&str]) -> (Balancer, std::path::PathBuf) {
    let balancer = Balancer::program(workers, options);
    let mode = balancer.directory().join("mode");
    fs::write(&mode, "ok").unwrap();
    let file = mode.to_str().unwrap().to_owned();
    (balancer.env("MODE_FILE", &file), mode)
}

fn reloads(cluster: &Cluster, outcome: &str) -> u64 {
    let line = format!("balancer_reloads_total{{outcome=\"{outcome}\"}} ");
    let text = cluster.admin("/metrics").text();
    text.lines().find_map(|found| found.strip_prefix(&line)).unwrap().parse().unwrap()
}

fn count_online(cluster: &Cluster, count: usize) -> Option<()> {
    let workers = cluster.workers();
    (workers.len() == count && workers.iter().all(|worker| worker["state"] == "online")).then_some(())
}

#[test]
fn reloads_replace_every_worker_and_no_client_notices() {
    let cluster = Balancer::cluster(4).start_ready();
    let (kept, fresh) = (Load::start(&cluster, 6), Load::of(&cluster, 2, "/cluster/info", false));
    let slow = thread::spawn({
        let address = cluster.address;
        move || {
            let body = json!({"n": 38}).to_string();
            (0..3).all(|_| {
                let mut connection = Connection::open(address).unwrap();
                let kind = [("content-type", "application/json")];
                connection.send("POST", "/cluster/cpu-intensive", &kind, body.as_bytes()).unwrap();
                connection.receive(false).unwrap().status == 200
            })
        }
    });
    let mut before = cluster.worker_pids();
    for _ in 0..5 {
        let (code, out, err) = cluster.operate(&["reload", "--wait"]);
        assert_eq!(code, 0, "{out}{err}");
        assert!(out.contains("done: 4 workers"), "{out}");
        let now = cluster.worker_pids();
        assert_eq!(now.len(), 4);
        assert!(now.iter().all(|pid| !before.contains(pid)), "{before:?} {now:?}");
        assert!(before.iter().all(|&pid| !is_alive(pid)), "done means that the old ones are gone");
        before = now;
    }
    assert!(slow.join().unwrap());
    kept.finish_unharmed();
    fresh.finish_unharmed();
    assert_eq!(reloads(&cluster, "done"), 5);
    let restarts: Vec<_> = cluster.workers().iter().map(|worker| worker["restarts"].clone()).collect();
    assert_eq!(restarts, [0, 0, 0, 0], "a reload is no restart");
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn a_broken_reload_changes_nothing() {
    let (balancer, mode) = with_mode(3, &["--startup-timeout", "6s", "--reload-parallel", "2"]);
    let cluster = balancer.start_ready();
    let before = cluster.worker_pids();
    let load = Load::of(&cluster, 4, "/pid", true);
    for (broken, complaint) in
        [("exit", "exit status: 1"), ("hang", "not ready within 6s"), ("500", "answers GET /health with 500")]
    {
        fs::write(&mode, broken).unwrap();
        let start = Instant::now();
        let (code, _, err) = cluster.operate(&["reload"]);
        assert_eq!(code, 1);
        assert!(err.contains(complaint), "{broken}: {err}");
        assert!(err.starts_with("balancer: worker "), "one line that says who: {err}");
        assert!(start.elapsed() < Duration::from_secs(25));
        assert_eq!(cluster.worker_pids(), before);
        eventually("what was tried is gone", || {
            let list = cluster.admin("/cluster/workers").json();
            (list["joining"].is_null() && list["leaving"].is_null()).then_some(())
        });
    }
    load.finish_unharmed();
    assert_eq!(reloads(&cluster, "rolled-back"), 3);
    fs::write(&mode, "ok").unwrap();
    assert_eq!(cluster.operate(&["reload"]).0, 0, "mended");
    assert!(cluster.worker_pids().iter().all(|pid| !before.contains(pid)));
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn one_bad_worker_among_good_ones_rolls_all_of_them_back() {
    let (balancer, mode) = with_mode(3, &["--startup-timeout", "20s"]);
    let cluster = balancer.start_ready();
    let before = cluster.worker_pids();
    let reload = thread::scope(|scope| {
        let reload = scope.spawn(|| cluster.operate(&["reload", "--json"]));
        eventually("a new worker is ready or starting", || {
            cluster.admin("/cluster/workers").json()["joining"]
                .as_array()
                .map(|joining| assert!(!joining.is_empty()))
        });
        fs::write(&mode, "exit").unwrap();
        reload.join().unwrap()
    });
    let (code, out, _) = reload;
    let steps: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(code, 1, "{steps:?}");
    assert_eq!(steps.last().unwrap()["event"], "failed");
    assert!(steps.iter().all(|step| step["event"] != "switched"), "{steps:?}");
    assert_eq!(cluster.worker_pids(), before);
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn workers_that_boot_slowly_are_waited_for() {
    for parallel in ["1", "4"] {
        let (balancer, mode) = with_mode(4, &["--reload-parallel", parallel]);
        let cluster = balancer.start_ready();
        fs::write(&mode, "slow").unwrap();
        let load = Load::of(&cluster, 3, "/mode", true);
        let start = Instant::now();
        let (code, _, err) = cluster.operate(&["reload"]);
        assert_eq!(code, 0, "{err}");
        let least = if parallel == "1" { 4 * 1500 } else { 1500 };
        assert!(start.elapsed() >= Duration::from_millis(least));
        load.finish_unharmed();
        assert_eq!(cluster.get("/mode").text(), "slow", "the new ones serve");
    }
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn who_waits_for_a_reload_waits_for_the_drain_timeout_at_most() {
    let cluster = Balancer::program(2, &["--drain-timeout", "1s", "--kill-timeout", "1s"]).start_ready();
    let mut endless = Connection::open(cluster.address).unwrap();
    endless.send("POST", "/slow?ms=60000", &[], b"x").unwrap();
    eventually("it is in flight", || {
        cluster.workers().iter().any(|worker| worker["inFlight"] == 1).then_some(())
    });
    let load = Load::of(&cluster, 2, "/pid", true);
    let start = Instant::now();
    assert_eq!(cluster.operate(&["reload", "--wait"]).0, 0);
    assert!(start.elapsed() > Duration::from_secs(1) && start.elapsed() < Duration::from_secs(20));
    endless.receive(false).unwrap().problem(504);
    load.finish_unharmed();
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn a_second_reload_is_refused_and_a_signal_waits_its_turn() {
    let (balancer, mode) = with_mode(2, &[]);
    let cluster = balancer.start_ready();
    fs::write(&mode, "hang").unwrap();
    thread::scope(|scope| {
        let reload = scope.spawn(|| cluster.operate(&["reload"]));
        eventually("the new workers start", || {
            cluster.admin("/cluster/workers").json()["joining"].is_array().then_some(())
        });
        let (code, _, err) = cluster.operate(&["reload"]);
        assert_eq!(code, 1);
        assert!(err.contains("a reload is under way"), "{err}");
        cluster.signal(Signal::HUP);
        eventually("the signal is taken in", || {
            cluster.log().iter().any(|line| line.contains("follows after it")).then_some(())
        });
        fs::write(&mode, "ok").unwrap();
        assert_eq!(reload.join().unwrap().0, 0);
    });
    eventually("the signal's reload has followed", || (reloads(&cluster, "done") == 2).then_some(()));
}

#[test]
fn a_reload_is_done_while_the_old_workers_finish_what_they_have() {
    let cluster = Balancer::cluster(2).start_ready();
    let first = cluster.worker_pids();
    let mut busy = Connection::open(cluster.address).unwrap();
    let body = json!({"n": 42}).to_string();
    busy.send("POST", "/cluster/cpu-intensive", &[("content-type", "application/json")], body.as_bytes())
        .unwrap();
    eventually("a worker is at work", || {
        cluster.workers().iter().any(|worker| worker["inFlight"] == 1).then_some(())
    });
    let (code, out, err) = cluster.operate(&["reload"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("; 1 request of the old ones"), "{out}");
    eventually("one of them is left", || {
        let list = cluster.admin("/cluster/workers").json();
        (list["leaving"].as_array()?.len() == 1).then_some(())
    });
    assert!(cluster.worker_pids().iter().all(|pid| !first.contains(pid)));
    // Other changes are made meanwhile.
    assert_eq!(cluster.operate(&["scale", "3"]).0, 0);
    let (code, out, err) = cluster.operate(&["scale", "2", "--wait"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("stopped"), "{out}");
    assert_eq!(busy.receive(false).unwrap().status, 200);
    eventually("the old ones are gone", || first.iter().all(|&pid| !is_alive(pid)).then_some(()));
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn a_stop_during_a_reload_ends_both() {
    let (balancer, mode) = with_mode(2, &[]);
    let mut cluster = balancer.start_ready();
    fs::write(&mode, "hang").unwrap();
    let pids = thread::scope(|scope| {
        let reload = scope.spawn(|| cluster.operate(&["reload"]));
        let joining = eventually("a new worker has started", || {
            let list = cluster.admin("/cluster/workers").json();
            list["joining"][0]["pid"].as_u64().map(|pid| pid as u32)
        });
        let mut pids = cluster.worker_pids();
        pids.push(joining);
        cluster.signal(Signal::TERM);
        let (code, _, err) = reload.join().unwrap();
        assert_eq!(code, 1);
        assert!(err.contains("the cluster is stopping"), "{err}");
        pids
    });
    assert!(cluster.wait().success());
    assert!(pids.iter().all(|&pid| !is_alive(pid)), "{pids:?}");
}

#[test]
fn a_new_executable_is_taken_up_by_a_reload_and_not_by_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("balancer");
    fs::copy(env!("CARGO_BIN_EXE_balancer"), &program).unwrap();
    let cluster = Balancer::cluster(2).run_as(&program).start_ready();
    let install = |text: &str| {
        let next = directory.path().join("next");
        fs::write(&next, text).unwrap();
        fs::set_permissions(&next, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(&next, &program).unwrap();
    };
    install("#!/bin/sh\necho a broken release >&2\nexit 7\n");
    let victim = cluster.worker_pids()[0];
    send_signal(victim, Signal::KILL);
    eventually("it is replaced from the old executable", || {
        (!cluster.worker_pids().contains(&victim)).then_some(())?;
        count_online(&cluster, 2)
    });
    let before = cluster.worker_pids();
    assert_eq!(cluster.operate(&["reload"]).0, 1);
    assert_eq!(cluster.worker_pids(), before);
    fs::remove_file(&program).unwrap();
    let (code, _, err) = cluster.operate(&["reload"]);
    assert_eq!(code, 1);
    assert!(err.contains("could not run") && err.contains(program.to_str().unwrap()), "{err}");
    fs::copy(env!("CARGO_BIN_EXE_balancer"), &program).unwrap();
    let (code, _, err) = cluster.operate(&["reload"]);
    assert_eq!(code, 0, "{err}");
    let runs = |pid: u32| fs::read_link(Path::new("/proc").join(pid.to_string()).join("exe")).unwrap();
    assert_eq!(runs(cluster.worker_pids()[0]), program);
}

#[test]
fn the_number_of_workers_changes_under_load() {
    let cluster = Balancer::cluster(2).start_ready();
    let load = Load::start(&cluster, 4);
    let before = cluster.worker_pids();
    for count in [5, 1, 64, 2] {
        let (code, out, err) = cluster.operate(&["scale", &count.to_string()]);
        assert_eq!(code, 0, "{err}");
        assert!(out.contains(&format!("done: {count} worker")), "{out}");
        count_online(&cluster, count).expect("done means done");
        let ids: Vec<_> = cluster.workers().iter().map(|worker| worker["id"].as_u64().unwrap()).collect();
        assert_eq!(ids, (1..=count as u64).collect::<Vec<_>>());
        assert_eq!(cluster.admin("/health").json()["workers"], json!({"online": count, "desired": count}));
    }
    load.finish_unharmed();
    assert_eq!(cluster.worker_pids()[0], before[0], "the first one was never touched");
    let (code, _, err) = cluster.operate(&["scale", "0"]);
    assert_eq!(code, 2, "{err}");
    let (code, _, err) = cluster.operate(&["scale", "100000"]);
    assert_eq!(code, 1);
    assert!(err.contains("find no room"), "{err}");
}

#[test]
fn signals_add_and_take_a_worker() {
    let cluster = Balancer::cluster(1).start_ready();
    cluster.signal(Signal::TTOU);
    eventually("the last one stays", || {
        cluster.log().iter().any(|line| line.contains("at least one worker")).then_some(())
    });
    for count in 2..=4 {
        cluster.signal(Signal::TTIN);
        eventually("one was added", || count_online(&cluster, count));
    }
    cluster.signal(Signal::TTOU);
    eventually("one was taken", || count_online(&cluster, 3));
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn more_workers_that_cannot_start_are_none() {
    let (balancer, mode) = with_mode(2, &[]);
    let cluster = balancer.start_ready();
    let before = cluster.worker_pids();
    fs::write(&mode, "exit").unwrap();
    let (code, _, err) = cluster.operate(&["scale", "4"]);
    assert_eq!(code, 1);
    assert!(err.contains("exit status: 1"), "{err}");
    assert_eq!(cluster.worker_pids(), before);
    assert_eq!(cluster.admin("/health").json()["status"], "ok");
}
