//! Workers with a cap: never more at a time, the others in order, and a clear no
//! to those for whom there is no place.

use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Balancer, Cluster, Connection, eventually, send_signal};
use crate::load::Load;

fn capped(workers: u32, options: &[&str]) -> Cluster {
    Balancer::program(workers, &[&["--max-concurrency", "1"], options].concat()).start_ready()
}

/// A request that is sent, and whose answer is read later.
fn send(cluster: &Cluster, path: &str) -> Connection {
    let mut connection = Connection::open(cluster.address).unwrap();
    connection.send("GET", path, &[], b"").unwrap();
    connection
}

/// Fills the only worker for so long.
fn hold(cluster: &Cluster, ms: u32) -> Connection {
    let holder = send(cluster, &format!("/held?name=holder&ms={ms}"));
    eventually("the worker is full", || (cluster.workers()[0]["inFlight"] == 1).then_some(()));
    holder
}

fn wait_queued(cluster: &Cluster, count: u64) {
    eventually("so many wait", || (cluster.metric("requests_queued") == count).then_some(()));
}

fn rejections(cluster: &Cluster, reason: &str) -> u64 {
    cluster.metric(&format!("queue_rejections_total{{reason=\"{reason}\"}}"))
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn workers_never_see_more_than_their_cap_and_nobody_is_lost() {
    for strategy in ["round-robin", "least-connections", "power-of-two", "sticky", "hash"] {
        let options = ["--strategy", strategy, "--hash-key", "header:x-key", "--queue-timeout", "30s"];
        let cluster = capped(2, &options);
        let address = cluster.address;
        let clients: Vec<_> = (0..12)
            .map(|_| {
                thread::spawn(move || {
                    let mut connection = Connection::open(address).unwrap();
                    for _ in 0..5 {
                        connection.send("GET", "/held?ms=10", &[], b"").unwrap();
                        assert_eq!(connection.receive(false).unwrap().text(), "held");
                    }
                })
            })
            .collect();
        clients.into_iter().for_each(|client| client.join().unwrap());
        let (mut seen, mut asked) = ([0, 0], 0);
        eventually("both have said what they saw", || {
            asked += 1;
            let answer = cluster.request("GET", "/seen", &[("x-key", &asked.to_string())], b"");
            assert_eq!(answer.json()["peak"], 1, "{strategy}");
            seen[answer.worker_id() as usize - 1] = answer.json()["seen"].as_array().unwrap().len();
            (!seen.contains(&0)).then_some(())
        });
        assert_eq!(seen.iter().sum::<usize>(), 60, "{strategy}");
        assert_eq!(rejections(&cluster, "full") + rejections(&cluster, "timeout"), 0);
    }
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn who_came_first_is_served_first() {
    let cluster = capped(1, &[]);
    let holder = hold(&cluster, 1500);
    let mut waiting = vec![holder];
    for name in 1..=6 {
        waiting.push(send(&cluster, &format!("/held?ms=1&name={name}")));
        wait_queued(&cluster, name);
    }
    for mut client in waiting {
        assert_eq!(client.receive(false).unwrap().text(), "held");
    }
    assert_eq!(cluster.get("/seen").json()["seen"], json!(["holder", "1", "2", "3", "4", "5", "6"]));
    wait_queued(&cluster, 0);
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn there_is_a_clear_no_when_the_queue_is_full() {
    let cluster = capped(1, &["--queue", "2"]);
    let holder = hold(&cluster, 1500);
    let mut waiting = vec![holder];
    for count in 1..=2 {
        waiting.push(send(&cluster, "/held?ms=1"));
        wait_queued(&cluster, count);
    }
    let start = Instant::now();
    let answer = cluster.get("/held?ms=1&name=too-many");
    assert!(start.elapsed() < Duration::from_millis(1000), "at once");
    assert_eq!(answer.header("retry-after"), Some("1"));
    let detail = answer.problem(503);
    assert!(detail.contains("busy") && !detail.contains("--"), "{detail}");
    let said = cluster.fault("queue-full");
    let said = said["message"].as_str().unwrap();
    assert!(said.contains("--max-concurrency") && said.contains("--queue"), "{said}");
    for mut client in waiting {
        assert_eq!(client.receive(false).unwrap().status, 200);
    }
    assert_eq!(rejections(&cluster, "full"), 1);
    assert_eq!(cluster.metric("rejections_total{reason=\"queue-full\"}"), 1);
    let seen = cluster.get("/seen").json();
    assert!(!seen["seen"].as_array().unwrap().contains(&json!("too-many")));
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn without_a_queue_the_no_comes_at_once() {
    let cluster = capped(1, &["--queue", "0"]);
    let mut holder = hold(&cluster, 1000);
    cluster.get("/pid").problem(503);
    assert_eq!(holder.receive(false).unwrap().status, 200);
    eventually("there is room again", || (cluster.get("/pid").status == 200).then_some(()));
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn nobody_waits_longer_than_is_said() {
    let cluster = capped(1, &["--queue-timeout", "400ms"]);
    let mut holder = hold(&cluster, 3000);
    let start = Instant::now();
    let answer = cluster.get("/pid");
    let waited = start.elapsed();
    let detail = answer.problem(503);
    assert!(detail.contains("busy"), "{detail}");
    let said = cluster.fault("queue-timeout");
    let said = said["message"].as_str().unwrap();
    assert!(said.contains("within 400ms (--queue-timeout)"), "{said}");
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert!(waited >= Duration::from_millis(400) && waited < Duration::from_millis(2500), "{waited:?}");
    assert_eq!((rejections(&cluster, "timeout"), cluster.metric("requests_queued")), (1, 0));
    assert_eq!(holder.receive(false).unwrap().status, 200);
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn a_client_that_goes_away_leaves_the_queue() {
    let cluster = capped(1, &["--queue-timeout", "30s", "--half-close"]);
    let mut holder = hold(&cluster, 2500);
    let leaver = send(&cluster, "/held?ms=1&name=leaver");
    wait_queued(&cluster, 1);
    let mut other = send(&cluster, "/held?ms=1&name=other");
    wait_queued(&cluster, 2);
    drop(leaver);
    wait_queued(&cluster, 1);
    // One that only stops sending is told.
    let mut half = send(&cluster, "/held?ms=1&name=half");
    wait_queued(&cluster, 2);
    half.stop_sending().unwrap();
    half.receive(false).unwrap().problem(503);
    assert_eq!(rejections(&cluster, "client-left"), 2);
    assert_eq!(holder.receive(false).unwrap().status, 200);
    assert_eq!(other.receive(false).unwrap().status, 200);
    assert_eq!(cluster.get("/seen").json()["seen"], json!(["holder", "other"]));
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn those_who_wait_are_served_by_the_successor_of_a_worker_that_dies() {
    let cluster = capped(1, &["--queue-timeout", "30s"]);
    let pid: u32 = cluster.get("/pid").text().parse().unwrap();
    let mut holder = Connection::open(cluster.address).unwrap();
    holder.send("POST", "/held?ms=20000", &[], b"").unwrap();
    eventually("the worker is full", || (cluster.workers()[0]["inFlight"] == 1).then_some(()));
    let mut waiting: Vec<_> = (0..3).map(|_| send(&cluster, "/pid")).collect();
    wait_queued(&cluster, 3);
    send_signal(pid, Signal::KILL);
    assert_eq!(holder.receive(false).unwrap().status, 502, "it may have been carried out");
    for client in &mut waiting {
        let answer = client.receive(false).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_ne!(answer.text(), pid.to_string());
    }
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn a_reload_loses_nobody_who_waits() {
    let cluster = capped(2, &["--queue-timeout", "30s"]);
    let load = Load::of(&cluster, 8, "/held?ms=5", true);
    for _ in 0..3 {
        let (code, out, err) = cluster.operate(&["reload"]);
        assert_eq!(code, 0, "{out}{err}");
    }
    load.finish_unharmed();
    assert_eq!(cluster.get("/seen").json()["peak"], 1);
    assert_eq!(cluster.metric("requests_queued"), 0);
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn a_client_with_a_cookie_waits_for_its_own_worker() {
    let cluster = capped(2, &["--strategy", "sticky"]);
    let first = cluster.get("/pid");
    let cookie = first.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let mut holder = Connection::open(cluster.address).unwrap();
    holder.send("GET", "/held?ms=1500", &[("cookie", &cookie)], b"").unwrap();
    let home = first.worker_id();
    eventually("its worker is full", || {
        let workers: Vec<Value> = cluster.workers();
        workers.iter().any(|worker| worker["id"] == home && worker["inFlight"] == 1).then_some(())
    });
    let mut mine = Connection::open(cluster.address).unwrap();
    mine.send("GET", "/pid", &[("cookie", &cookie)], b"").unwrap();
    wait_queued(&cluster, 1);
    assert_ne!(cluster.get("/pid").worker_id(), home, "who is free to choose does not wait");
    assert_eq!(mine.receive(false).unwrap().text(), first.text());
    assert_eq!(holder.receive(false).unwrap().worker_id(), home);
}
