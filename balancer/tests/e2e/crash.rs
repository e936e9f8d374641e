//! Workers die, hang and keep dying; clients should not notice.

use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Balancer, Cluster, Connection, eventually, is_alive, send_signal};
use crate::load::Load;

fn pid_of(cluster: &Cluster, id: u64) -> Option<u32> {
    let worker = cluster.workers().into_iter().find(|worker| worker["id"] == id)?;
    (worker["state"] == "online").then(|| worker["pid"].as_u64().unwrap() as u32)
}

#[test]
fn a_crashed_worker_comes_back_in_its_place() {
    let cluster = Balancer::cluster(2).start_ready();
    let before = cluster.worker_pids();
    let answer = cluster.post("/cluster/crash", &json!({}));
    assert_eq!(answer.status, 200);
    let (id, pid) =
        (answer.json()["workerId"].as_u64().unwrap(), answer.json()["pid"].as_u64().unwrap() as u32);
    assert!(before.contains(&pid));
    assert_eq!(
        answer.json()["message"],
        format!("Worker {id} (PID: {pid}) is crashing... it should restart automatically")
    );
    let new = eventually("a replacement is online", || pid_of(&cluster, id).filter(|&new| new != pid));
    eventually("the old process is gone", || (!is_alive(pid)).then_some(()));
    let after = cluster.worker_pids();
    assert!(after.contains(&new), "{after:?}");
    assert!(before.iter().filter(|&&old| old != pid).all(|old| after.contains(old)), "the other one stayed");
    let restarts: u64 = cluster.workers().iter().map(|worker| worker["restarts"].as_u64().unwrap()).sum();
    assert_eq!(restarts, 1);
}

#[test]
fn abort_is_a_crash_as_well() {
    let cluster = Balancer::cluster(2).start_ready();
    let answer = cluster.post("/cluster/crash", &json!({"mode": "abort"})).json();
    let (id, pid) = (answer["workerId"].as_u64().unwrap(), answer["pid"].as_u64().unwrap() as u32);
    eventually("a replacement is online", || pid_of(&cluster, id).filter(|&new| new != pid));
}

#[test]
fn killed_workers_cost_no_get_request() {
    let cluster = Balancer::cluster(4).start_ready();
    let load = Load::start(&cluster, 8);
    for round in 0..12 {
        let victim = cluster.workers()[round % 4].clone();
        let (id, pid) = (victim["id"].as_u64().unwrap(), victim["pid"].as_u64().unwrap() as u32);
        send_signal(pid, Signal::KILL);
        eventually("a replacement is online", || pid_of(&cluster, id).filter(|&new| new != pid));
        // A request is handed to two processes at most, so that the next death is not to
        // be that of the second one.
        load.await_those_in_flight();
    }
    let (served, failures) = load.finish();
    assert!(failures.is_empty(), "{} of {served} failed: {:?}", failures.len(), failures.first());
    assert!(served > 100);
    assert_eq!(cluster.get("/health").json()["workers"]["online"], 4);
}

#[test]
fn a_worker_killed_with_warm_connections_is_not_asked_again() {
    let cluster = Balancer::cluster(8).start_ready();
    for round in 1..=8 {
        (0..16).for_each(|_| assert_eq!(cluster.get("/cluster/info").status, 200));
        let pid = eventually("the worker is online", || pid_of(&cluster, round));
        send_signal(pid, Signal::KILL);
        for _ in 0..16 {
            assert_eq!(cluster.get("/cluster/info").status, 200, "round {round}");
        }
    }
}

#[test]
fn a_post_that_may_have_run_is_not_run_again() {
    let cluster = Balancer::cluster(2).start_ready();
    let mut client = Connection::open(cluster.address).unwrap();
    let body = json!({"n": 45}).to_string();
    client
        .send("POST", "/cluster/cpu-intensive", &[("content-type", "application/json")], body.as_bytes())
        .unwrap();
    let busy = eventually("a worker is at work", || {
        cluster
            .workers()
            .iter()
            .find(|worker| worker["inFlight"] == 1)
            .map(|worker| worker["pid"].as_u64().unwrap())
    });
    send_signal(busy as u32, Signal::KILL);
    let detail = client.receive(false).unwrap().problem(502);
    assert!(detail.contains("may have been carried out"), "{detail}");
    eventually("the worker is replaced", || {
        let replaced = |worker: &Value| worker["restarts"] == 1 && worker["state"] == "online";
        cluster.workers().iter().any(replaced).then_some(())
    });
    let requests: u64 = cluster.workers().iter().map(|worker| worker["requests"].as_u64().unwrap()).sum();
    assert_eq!(requests, 0, "nobody else was handed it");
}

#[test]
fn a_frozen_worker_is_replaced_and_its_requests_answered_by_others() {
    let cluster = Balancer::cluster(3)
        .with(&[
            "--health-interval",
            "200ms",
            "--health-timeout",
            "200ms",
            "--hang-timeout",
            "2s",
            "--kill-timeout",
            "500ms",
        ])
        .start_ready();
    let frozen = pid_of(&cluster, 2).unwrap();
    send_signal(frozen, Signal::STOP);
    let new =
        eventually("the frozen worker is replaced", || pid_of(&cluster, 2).filter(|&new| new != frozen));
    assert_ne!(new, frozen);
    assert!(!is_alive(frozen));
    for _ in 0..6 {
        assert_eq!(cluster.get("/cluster/info").status, 200);
    }
    let restarts: Vec<_> = cluster.workers().iter().map(|worker| worker["restarts"].clone()).collect();
    assert_eq!(restarts, [json!(0), json!(1), json!(0)]);
}

#[test]
fn when_every_worker_hangs_they_are_replaced_one_after_the_other() {
    let cluster = Balancer::cluster(2)
        .with(&[
            "--health-interval",
            "100ms",
            "--health-timeout",
            "300ms",
            "--hang-timeout",
            "2s",
            "--kill-timeout",
            "300ms",
        ])
        .start_ready();
    let before = cluster.worker_pids();
    for _ in 0..2 {
        assert_eq!(cluster.post("/cluster/crash", &json!({"mode": "hang"})).status, 200);
    }
    eventually("both are replaced", || {
        let now = cluster.worker_pids();
        let online = cluster.get("/health").json()["workers"]["online"] == 2;
        (online && now.len() == 2 && now.iter().all(|pid| !before.contains(pid))).then_some(())
    });
    assert_eq!(cluster.get("/cluster/info").status, 200);
}

#[test]
fn computing_workers_are_not_taken_for_hung_ones() {
    let cluster = Balancer::cluster(2).with(&["--health-interval", "100ms"]).start_ready();
    let address = cluster.address;
    let clients: Vec<_> = (0..4)
        .map(|_| {
            thread::spawn(move || {
                let mut connection = Connection::open(address).unwrap();
                let body = json!({"n": 40}).to_string();
                let kind = [("content-type", "application/json")];
                connection.send("POST", "/cluster/cpu-intensive", &kind, body.as_bytes()).unwrap();
                connection.receive(false).unwrap().status
            })
        })
        .collect();
    for client in clients {
        assert_eq!(client.join().unwrap(), 200);
    }
    assert!(cluster.workers().iter().all(|worker| worker["restarts"] == 0));
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn workers_that_cannot_start_leave_a_fast_503_and_a_quiet_log() {
    let balancer = Balancer::program(2, &[]);
    let mode = balancer.directory().join("mode");
    std::fs::write(&mode, "ok").unwrap();
    let file = mode.to_str().unwrap().to_owned();
    let cluster = balancer.env("MODE_FILE", &file).start_ready();
    std::fs::write(&mode, "exit").unwrap();
    for pid in cluster.worker_pids() {
        send_signal(pid, Signal::KILL);
    }
    eventually("both workers wait for their next start", || {
        cluster.workers().iter().all(|worker| worker["state"] == "backoff").then_some(())
    });
    let start = Instant::now();
    let answer = eventually("a request finds nobody about to start", || {
        let answer = cluster.get("/pid");
        (answer.status == 503).then_some(answer)
    });
    assert!(answer.header("retry-after").is_some());
    assert_eq!(answer.header("connection"), Some("close"), "as it does");
    answer.problem(503);
    assert_eq!(cluster.admin("/health").status, 503);
    let lines = cluster.log().len();
    assert!(lines < 200, "{lines} log lines in {:?}", start.elapsed());
    std::fs::write(&mode, "ok").unwrap();
    eventually("the cluster is back", || (cluster.get("/pid").status == 200).then_some(()));
}

#[test]
fn waiting_requests_are_served_when_the_only_worker_comes_back() {
    let cluster = Balancer::cluster(1).start_ready();
    for _ in 0..4 {
        let pid = eventually("the worker is online", || pid_of(&cluster, 1));
        send_signal(pid, Signal::KILL);
        let start = Instant::now();
        assert_eq!(cluster.get("/cluster/info").status, 200);
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}
