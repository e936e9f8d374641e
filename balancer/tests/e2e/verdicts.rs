//! Who is busy and who is hung, told apart with a program of one thread.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{Balancer, Cluster, Connection, eventually, is_alive, send_signal};

/// Out of turn after less than half a second.
const QUICK: [&str; 6] = ["--health-interval", "200ms", "--health-timeout", "100ms", "--health-fall", "2"];

fn one_thread(workers: u32, options: &[&str]) -> Balancer {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/programs/one_thread.py");
    let balancer = Balancer::cluster(workers).with(options).with(&["--", "python3", script]);
    let begun = balancer.directory().join("begun").to_str().unwrap().to_owned();
    balancer.env("BEGUN", &begun).env("PATH", &std::env::var("PATH").unwrap())
}

/// Ten GETs a second.
struct Paced(mpsc::Sender<()>, thread::JoinHandle<Vec<u16>>);

impl Paced {
    fn start(cluster: &Cluster) -> Self {
        let (address, (stop, stopped)) = (cluster.address, mpsc::channel());
        let ask = move || {
            let mut connection = Connection::open(address).unwrap();
            connection.send("GET", "/", &[("connection", "close")], b"").unwrap();
            connection.receive(false).map_or(0, |answer| answer.status)
        };
        Self(
            stop,
            thread::spawn(move || {
                let mut statuses = Vec::new();
                while stopped.recv_timeout(Duration::from_millis(100)) == Err(mpsc::RecvTimeoutError::Timeout)
                {
                    statuses.push(ask());
                }
                statuses
            }),
        )
    }

    fn finish_unharmed(self) {
        let Self(stop, load) = self;
        drop(stop);
        let statuses = load.join().unwrap();
        assert!(!statuses.is_empty() && statuses.iter().all(|&status| status == 200), "{statuses:?}");
    }
}

/// Requests to `/slow` that were begun.
fn begun(cluster: &Cluster) -> Vec<u32> {
    let text = fs::read_to_string(cluster.directory().join("begun")).unwrap_or_default();
    text.lines().map(|line| line.parse().unwrap()).collect()
}

fn slow(cluster: &Cluster, method: &'static str, seconds: f64) -> thread::JoinHandle<u16> {
    let address = cluster.address;
    thread::spawn(move || {
        let mut connection = Connection::open(address).unwrap();
        connection.send(method, &format!("/slow?s={seconds}"), &[], b"").unwrap();
        connection.receive(false).unwrap().status
    })
}

fn kinds(cluster: &Cluster) -> Vec<String> {
    let events = cluster.admin("/events?format=json").text();
    let events: serde_json::Value = serde_json::from_str(&events).unwrap_or_default();
    let kinds = events.as_array().into_iter().flatten();
    kinds.filter_map(|event| Some(event["kind"].as_str()?.to_owned())).collect()
}

fn state_of(cluster: &Cluster, pid: u32) -> Option<String> {
    let workers = cluster.workers();
    let worker = workers.iter().find(|worker| worker["pid"] == pid)?;
    Some(worker["state"].as_str()?.to_owned())
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn a_worker_that_is_busy_with_one_long_request_is_not_killed() {
    for options in [&[][..], &["--max-concurrency", "1"], &["--health-path", "tcp"]] {
        for beside in [false, true] {
            let cluster = one_thread(3, &[&QUICK, options].concat()).start_ready();
            let pids = cluster.worker_pids();
            let answer = slow(&cluster, "GET", 2.5);
            let busy = eventually("it has begun", || begun(&cluster).first().copied());
            let load = beside.then(|| Paced::start(&cluster));
            if options.first() != Some(&"--max-concurrency") {
                eventually("it is out of turn", || (state_of(&cluster, busy)? == "unhealthy").then_some(()));
            }
            assert_eq!(answer.join().unwrap(), 200, "{options:?}");
            if let Some(load) = load {
                load.finish_unharmed();
            }
            eventually("it is back", || (state_of(&cluster, busy)? == "online").then_some(()));
            assert_eq!((cluster.worker_pids(), begun(&cluster)), (pids, vec![busy]), "{options:?}");
        }
    }
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn workers_that_are_all_busy_are_all_in_turn() {
    let cluster = one_thread(2, &QUICK).start_ready();
    let pids = cluster.worker_pids();
    let answers = [slow(&cluster, "GET", 2.0), slow(&cluster, "GET", 2.0)];
    eventually("both have begun", || (begun(&cluster).len() == 2).then_some(()));
    thread::sleep(Duration::from_secs(1));
    assert_eq!(cluster.admin("/health").json()["status"], "ok", "{:?}", kinds(&cluster));
    // Waits for one of them.
    assert_eq!(cluster.get("/").status, 200);
    for answer in answers {
        assert_eq!(answer.join().unwrap(), 200);
    }
    assert_eq!(cluster.worker_pids(), pids);
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn a_frozen_worker_is_out_of_turn_at_once_and_replaced_after_the_hang_timeout() {
    let timeouts = ["--hang-timeout", "2s", "--kill-timeout", "300ms"];
    for check in [&[][..], &["--health-path", "tcp"]] {
        let cluster = one_thread(3, &[&QUICK, check, &timeouts].concat()).start_ready();
        let pids = cluster.worker_pids();
        let held = slow(&cluster, "POST", 60.0);
        let frozen = eventually("it has begun", || begun(&cluster).first().copied());
        let load = Paced::start(&cluster);
        send_signal(frozen, Signal::STOP);
        let stopped = Instant::now();
        eventually("it is out of turn", || (state_of(&cluster, frozen)? == "unhealthy").then_some(()));
        eventually("it is gone", || (!is_alive(frozen)).then_some(()));
        let took = stopped.elapsed();
        assert!(took > Duration::from_millis(1_500), "{took:?}: its request may have been moving");
        cluster.wait_ready();
        load.finish_unharmed();
        let after = cluster.worker_pids();
        assert_eq!(pids.iter().filter(|pid| after.contains(pid)).count(), 2);
        assert!(cluster.log().iter().any(|line| line.contains("none of its requests has moved")));
        assert_eq!(held.join().unwrap(), 502, "it may have been carried out");
    }
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn what_a_program_and_its_forks_share_counts_once() {
    // 40 MiB that five processes share are 40 MiB, not 200.
    let cluster =
        one_thread(1, &["--max-memory", "100MiB"]).env("BALLAST_MIB", "40").env("FORKS", "4").start_ready();
    let pids = cluster.worker_pids();
    // Longer than a measurement has to last.
    thread::sleep(Duration::from_secs(7));
    assert_eq!(cluster.worker_pids(), pids);
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn a_memory_limit_that_is_met_at_once_is_said_and_does_not_replace_for_ever() {
    let cluster = one_thread(1, &["--max-memory", "30MiB"]).env("BALLAST_MIB", "60").start_ready();
    let warning = eventually("it is said", || {
        cluster.log().into_iter().find(|line| line.contains("reaches its limit as soon as it serves"))
    });
    assert!(warning.contains("WARN") && warning.contains("of 30.0 MiB"), "{warning}");
    let pids = cluster.worker_pids();
    thread::sleep(Duration::from_secs(6));
    assert_eq!(cluster.worker_pids(), pids);
}

#[test]
#[ignore = "needs python3 and taskset: bash .ci/setup"]
fn programs_that_need_a_processor_to_start_do_not_delay_one_another() {
    let options = ["--startup-timeout", "10s"];
    let start = Instant::now();
    let cluster = one_thread(6, &options).env("BURN", "1").run_below("taskset", &["-c", "0"]).start();
    eventually("the first is online", || {
        (cluster.admin("/health").json()["workers"]["online"].as_u64()? > 0).then_some(())
    });
    let first = start.elapsed();
    cluster.wait_ready();
    let all = start.elapsed();
    assert!(first < all / 2, "the first after {first:?}, all after {all:?}");
    let restarts = cluster.workers().iter().map(|worker| worker["restarts"].as_u64().unwrap()).sum::<u64>();
    assert_eq!(restarts, 0, "{:#?}", cluster.log());
    let (code, _, err) = cluster.operate(&["scale", "8"]);
    assert_eq!(code, 0, "{err}");
}

#[test]
fn a_candidate_goes_before_a_worker_when_memory_runs_out() {
    let score = |pid: u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap();
        text.trim().parse::<i32>().unwrap()
    };
    let cluster = Balancer::cluster(2).start_ready();
    let primary = score(cluster.pid());
    assert!(cluster.worker_pids().into_iter().all(|pid| score(pid) > primary));
    assert_eq!(cluster.operate(&["reload"]).0, 0);
    let after: Vec<_> = cluster.worker_pids().into_iter().map(score).collect();
    assert_eq!(after, [primary + 100, primary + 100], "candidates that have taken over are workers");
}

/// Eight clients that do `slowly` beside GETs; all of them are served, by the same processes.
fn beside_gets(slowly: impl Fn(SocketAddr) -> u16 + Send + Sync + 'static) {
    let cluster = one_thread(4, &[]).start_ready();
    let pids = cluster.worker_pids();
    let (address, slowly) = (cluster.address, Arc::new(slowly));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let slowly = Arc::clone(&slowly);
            thread::spawn(move || slowly(address))
        })
        .collect();
    let mut gets = 0;
    while clients.iter().any(|client| !client.is_finished()) {
        let start = Instant::now();
        assert_eq!(cluster.get("/").status, 200);
        assert!(start.elapsed() < Duration::from_secs(2), "a GET took {:?}", start.elapsed());
        gets += 1;
        thread::sleep(Duration::from_millis(50));
    }
    for client in clients {
        assert_eq!(client.join().unwrap(), 200);
    }
    assert!(gets >= 20, "only {gets} GETs were beside them");
    assert_eq!(cluster.worker_pids(), pids);
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn slow_uploads_occupy_no_worker() {
    beside_gets(|address| {
        let mut client = Connection::open(address).unwrap();
        client.write(b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 30000\r\n\r\n").unwrap();
        for _ in 0..30 {
            client.write(&[b'x'; 1_000]).unwrap();
            thread::sleep(Duration::from_millis(100));
        }
        client.receive(false).unwrap().status
    });
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn slow_readers_occupy_no_worker() {
    beside_gets(|address| {
        let mut client = TcpStream::connect(address).unwrap();
        write!(client, "GET /large?mb=20 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        let (mut part, mut received, mut first) = (vec![0; 1 << 16], 0, None);
        loop {
            match client.read(&mut part).unwrap() {
                0 => break,
                count => received += count,
            }
            first.get_or_insert_with(|| String::from_utf8_lossy(&part[..12]).into_owned());
            // Slow in the beginning, when a worker would be occupied, and fast in the end.
            if received < 2 << 20 {
                thread::sleep(Duration::from_millis(100));
            }
        }
        assert!(received > 20 << 20, "{received}");
        if first.as_deref() == Some("HTTP/1.1 200") { 200 } else { 0 }
    });
}
