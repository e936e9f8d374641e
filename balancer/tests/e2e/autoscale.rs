//! The number of workers follows the load, with a program of one thread and one that waits
//! in many requests at a time.

use std::fs;
use std::num::NonZero;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use shared_testkit::wait_until;

use crate::harness::{Balancer, Cluster, Connection, eventually};
use crate::load::Load;

/// Fewer workers have to be enough for two seconds only.
const QUICK: [&str; 2] = ["--scale-down-after", "2s"];

/// Workers that do one thing at a time, from `range`.
fn one_thread(range: &str, options: &[&str]) -> Balancer {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/programs/one_thread.py");
    let options = [&["--port", "0", "--workers", range], options].concat();
    let balancer = Balancer::new(&options).with(&["--", "python3", script]);
    let begun = balancer.directory().join("begun").to_str().unwrap().to_owned();
    balancer.env("BEGUN", &begun).env("PATH", &std::env::var("PATH").unwrap())
}

fn wait_for(cluster: &Cluster, workers: usize) {
    eventually("there are so many workers", || {
        let health = cluster.admin("/health").json();
        let is_there = health["workers"]["desired"] == workers && health["workers"]["online"] == workers;
        is_there.then_some(())
    });
}

/// The steps that events tell of, oldest first.
fn steps(cluster: &Cluster) -> Vec<String> {
    let events = cluster.admin("/events").json();
    let events = events.as_array().or_else(|| events["events"].as_array()).unwrap();
    let details = events.iter().filter_map(|event| event["detail"].as_str());
    details.filter(|detail| detail.contains(" → ")).map(str::to_owned).collect()
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn the_number_rises_with_a_queue_and_falls_without_one() {
    let cluster =
        one_thread("1..3", &[&QUICK[..], &["--max-concurrency", "1", "--queue-timeout", "60s"]].concat())
            .start_ready();
    assert_eq!(cluster.workers().len(), 1, "it begins with the lowest number");
    let load = Load::of(&cluster, 8, "/slow?s=0.05", false);
    wait_for(&cluster, 3);
    load.finish_unharmed();
    wait_for(&cluster, 1);
    let steps = steps(&cluster);
    let numbers: Vec<_> =
        steps.iter().map(|step| step.split(' ').take(3).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(numbers, ["1 → 2", "2 → 3", "3 → 2", "2 → 1"], "{steps:?}");
    assert!(steps[0].contains("requests waited in the queue for up to"), "{steps:?}");
    assert!(steps[3].starts_with("2 → 1 worker: fewer were enough for 2s"), "{steps:?}");
    eventually("each step is in the log", || {
        let log = cluster.log();
        let said = |step: &String| log.iter().any(|line| line.contains(step.as_str()));
        steps.iter().all(said).then_some(())
    });
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn a_step_down_waits_for_requests() {
    let cluster = one_thread("1..2", &[&QUICK[..], &["--max-concurrency", "4"]].concat()).start_ready();
    let (code, out, err) = cluster.operate(&["scale", "2"]);
    assert_eq!(code, 0, "{out}{err}");
    let mut waiting: Vec<_> = (0..2)
        .map(|_| {
            let mut connection = Connection::open(cluster.address).unwrap();
            connection.send("GET", "/slow?s=8", &[], b"").unwrap();
            connection
        })
        .collect();
    eventually("each worker has one", || {
        cluster.workers().iter().all(|worker| worker["inFlight"] == 1).then_some(())
    });
    let leaving = eventually("one is on its way out", || {
        let list = cluster.admin("/cluster/workers").json();
        // Left out while there is none.
        let leaving = list["leaving"].as_array()?.first()?.clone();
        (list["count"] == 1).then_some(leaving)
    });
    assert_eq!(leaving["inFlight"], 1, "it goes on with what it has: {leaving}");
    for connection in &mut waiting {
        assert_eq!(connection.receive(false).unwrap().status, 200);
    }
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn operators_choose_within_the_range() {
    let cluster = one_thread("2..3", &["--scale-down-after", "10m"]).start_ready();
    let (code, out, err) = cluster.operate(&["scale", "3"]);
    assert!(code == 0 && out.contains("done: 3 workers"), "{out}{err}");
    for (number, named) in [("4", "4 is"), ("+1", "4 is"), ("1", "1 is"), ("-2", "1 is")] {
        let (code, _, err) = cluster.operate(&["scale", number]);
        let expected = format!("{named} not within the range of --workers, 2..3");
        assert!(code == 1 && err.contains(&expected), "{number}: {err}");
    }
    cluster.signal(Signal::TTIN);
    eventually("the signal is refused", || {
        let refused = "number of workers stays 3: 4 is not within the range of --workers, 2..3";
        cluster.log().iter().any(|line| line.contains(refused)).then_some(())
    });
    cluster.signal(Signal::TTOU);
    wait_for(&cluster, 2);
    assert_eq!((cluster.metric("workers_min"), cluster.metric("workers_max")), (2, 3));
    assert_eq!(cluster.metric("workers_desired"), 2);
    let (_, out, _) = cluster.operate(&["status"]);
    assert!(out.contains("2/2 workers online (2..3)"), "{out}");
    let (_, out, _) = cluster.operate(&["status", "--json"]);
    let status: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(status["range"], serde_json::json!({"min": 2, "max": 3}));
    for pid in cluster.worker_pids() {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap();
        let mut variables = environment.split(|&byte| byte == 0);
        assert!(variables.any(|variable| variable == b"WORKER_COUNT=3"), "the most that there may be");
    }
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn busy_processors_get_another_worker_while_others_are_idle() {
    if thread::available_parallelism().map_or(1, NonZero::get) == 1 {
        // Another worker would be no help then, and there is no step.
        return;
    }
    let cluster = one_thread("1..2", &["--scale-down-after", "10m"]).start_ready();
    let load = Load::of(&cluster, 2, "/spin?s=0.02", true);
    // Other tests keep the processors busy at times, and none is idle then.
    wait_until("a second worker", Duration::from_secs(120), || cluster.metric("workers_desired") == 2);
    load.finish_unharmed();
    let steps = steps(&cluster);
    assert_eq!(steps.len(), 1, "{steps:?}");
    assert!(steps[0].starts_with("1 → 2 workers: the workers used "), "{steps:?}");
    assert!(steps[0].ends_with(" % of a CPU each over 3 s"), "{steps:?}");
}

/// With so many requests that wait and connections that stay open, fewer workers are enough:
/// it goes down, and never up.
#[test]
#[ignore = "needs node: bash .ci/setup"]
fn long_polls_event_streams_and_tunnels_are_no_load() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/programs/realtime.js");
    let options = [&["--port", "0", "--workers", "1..3"], &QUICK[..]].concat();
    let balancer = Balancer::new(&options).with(&["--", "node", script]);
    let cluster = balancer.env("PATH", &std::env::var("PATH").unwrap()).start_ready();
    let (code, out, err) = cluster.operate(&["scale", "2"]);
    assert_eq!(code, 0, "{out}{err}");
    let open = |path: &str, headers: &[(&str, &str)]| {
        let mut connection = Connection::open(cluster.address).unwrap();
        connection.send("GET", path, headers, b"").unwrap();
        connection
    };
    let upgrade = [("connection", "upgrade"), ("upgrade", "x")];
    let _waiting: Vec<_> = (0..50)
        .flat_map(|_| [open("/slow?ms=600000", &[]), open("/events", &[]), open("/up", &upgrade)])
        .collect();
    eventually("each worker has its part of them", || {
        let in_flight = |worker: &serde_json::Value| worker["inFlight"].as_u64().unwrap();
        cluster.workers().iter().all(|worker| in_flight(worker) >= 50).then_some(())
    });
    wait_for(&cluster, 1);
    let steps = steps(&cluster);
    assert_eq!(steps.len(), 1, "{steps:?}");
    assert!(steps[0].starts_with("2 → 1 worker: fewer were enough for 2s"), "{steps:?}");
}

/// Three workers that the load has asked for, of a range that begins with one, are three
/// workers after a reload in this mode under the same load.
fn keeps_its_number_over_a_reload(mode: &str) {
    let options = ["--scale-down-after", "10m", "--max-concurrency", "1", "--queue-timeout", "60s"];
    let cluster = one_thread("1..3", &[&options[..], &["--reload-mode", mode]].concat()).start_ready();
    let load = Load::of(&cluster, 8, "/slow?s=0.05", false);
    wait_for(&cluster, 3);
    let (before, risen) = (cluster.worker_pids(), steps(&cluster));
    let (code, out, err) = cluster.operate(&["reload"]);
    assert!(code == 0 && out.contains("3 workers"), "{out}{err}");
    let after = cluster.worker_pids();
    assert_eq!(after.len(), 3);
    assert!(after.iter().all(|pid| !before.contains(pid)), "{before:?} {after:?}");
    assert_eq!(cluster.metric("workers_desired"), 3);
    load.await_those_in_flight();
    load.finish_unharmed();
    assert_eq!(steps(&cluster), risen, "the reload has led to no step");
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn a_reload_keeps_the_number_that_the_load_has_asked_for() {
    keeps_its_number_over_a_reload("all");
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn a_reload_one_by_one_keeps_it_as_well() {
    keeps_its_number_over_a_reload("one-by-one");
}

#[test]
fn ranges_that_make_no_sense_are_refused_with_a_right_one() {
    for bad in ["4..1", "0..4", "1..", "..4", "-1..4", "1 .. 4", "1..99999", "1...4", "auto..4"] {
        for balancer in [
            Balancer::new(&["--port", "0", "--workers", bad]),
            Balancer::new(&["--port", "0"]).env("CLUSTER_WORKERS", bad),
        ] {
            let (code, text) = balancer.output();
            assert!(code == 2 && text.contains(bad) && text.contains("1..4"), "{bad}: {text}");
            assert_eq!(text.trim_end().lines().count(), 1, "{bad}: {text}");
        }
    }
    let (code, text) = Balancer::new(&["check", "--port", "0", "--workers", "1..4"]).output();
    assert!(code == 0 && text.contains("enough for 1..4 workers"), "{text}");
    let (code, text) = Balancer::new(&["config", "--workers", "1..4"]).output();
    assert!(code == 0 && text.contains("1..4") && text.contains("--scale-down-after"), "{text}");
}
