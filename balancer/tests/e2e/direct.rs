//! Workers that accept clients' connections themselves, from sockets of their slots.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::harness::{Balancer, Cluster, Connection, DEADLINE, eventually, is_alive, send_signal};
use crate::load::Load;

fn direct(workers: u32, options: &[&str]) -> Balancer {
    Balancer::cluster(workers).with(&["--dispatch", "direct"]).with(options)
}

/// The workers that answer so many connections, by their ids.
fn answering(cluster: &Cluster, connections: usize) -> Vec<String> {
    let mut ids: Vec<_> = (0..connections)
        .map(|_| cluster.get("/cluster/info").header("x-worker-id").unwrap_or_default().to_owned())
        .collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

#[test]
fn workers_answer_clients_themselves_and_operators_see_all_of_it() {
    let cluster = direct(2, &[]).start_ready();
    assert_eq!(answering(&cluster, 60), ["1", "2"], "the kernel divides connections");
    // The relay says for whom it asks; nobody stands between here.
    let direct = cluster.get("/cluster/info");
    assert_eq!(direct.status, 200);
    assert_eq!(direct.header("via"), None);
    let seen = eventually("the workers have reported", || {
        let workers = cluster.workers();
        let all: u64 = workers.iter().map(|worker| worker["requests"].as_u64().unwrap()).sum();
        (all >= 61).then_some(workers)
    });
    assert!(seen.iter().all(|worker| worker["requests"].as_u64().unwrap() > 0), "{seen:?}");
    let counted: u64 =
        (1..=2).map(|id| cluster.metric(&format!("requests_total{{worker=\"{id}\",status=\"200\"}}"))).sum();
    assert_eq!(counted, seen.iter().map(|worker| worker["requests"].as_u64().unwrap()).sum::<u64>());
    // A worker that is asked how the cluster is has it from the primary.
    let list = cluster.get("/cluster/workers").json();
    assert_eq!(
        (list["primary"]["pid"].as_u64(), list["count"].as_u64()),
        (Some(cluster.pid().into()), Some(2))
    );
    let health = cluster.get("/health").json();
    assert_eq!((&health["status"], &health["workers"]["online"]), (&Value::from("ok"), &Value::from(2)));
}

#[test]
fn reloads_lose_nothing_of_kept_and_of_fresh_connections() {
    let cluster = direct(2, &[]).start_ready();
    let (kept, fresh) = (Load::start(&cluster, 4), Load::of(&cluster, 2, "/cluster/info", false));
    let mut before = cluster.worker_pids();
    for _ in 0..20 {
        let (code, out, err) = cluster.operate(&["reload"]);
        assert_eq!(code, 0, "{out}{err}");
        let now = cluster.worker_pids();
        assert!(now.iter().all(|pid| !before.contains(pid)), "{before:?} {now:?}");
        before = now;
    }
    kept.finish_unharmed();
    fresh.finish_unharmed();
}

/// What became of fresh connections with one request each.
#[derive(Debug, Default)]
struct Outcome {
    served: usize,
    refused: Vec<String>,
    /// The connection ended before the response began, or whoever relayed the request says so.
    cut: usize,
    /// Other responses than were asked for.
    wrong: Vec<String>,
}

fn ask_freshly(cluster: &Cluster, goes_on: impl Fn() -> bool) -> Outcome {
    let mut outcome = Outcome::default();
    while goes_on() {
        let mut stream = match TcpStream::connect_timeout(&cluster.address, DEADLINE) {
            Ok(stream) => stream,
            Err(err) => {
                outcome.refused.push(err.to_string());
                continue;
            }
        };
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut text = Vec::new();
        let request = b"GET /cluster/info HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let answered = stream.write_all(request).is_ok() && stream.read_to_end(&mut text).is_ok();
        if answered && text.starts_with(b"HTTP/1.1 200") {
            outcome.served += 1;
        } else if text.is_empty()
            || (text.starts_with(b"HTTP/1.1 502") && text.ends_with(b"before you try again\"}"))
        {
            outcome.cut += 1;
        } else {
            outcome.wrong.push(String::from_utf8_lossy(&text).into_owned());
        }
    }
    outcome
}

#[test]
fn a_killed_worker_takes_with_it_what_it_held_and_nothing_that_waits() {
    // Each waits for the one before to be made good, which takes longer the more there are.
    const KILLS: usize = 8;
    let cluster = &direct(2, &[]).start_ready();
    let is_over = AtomicBool::new(false);
    let goes_on = &|| !is_over.load(Ordering::Relaxed);
    let outcomes: Vec<_> = thread::scope(|scope| {
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(move || ask_freshly(cluster, goes_on))).collect();
        for _ in 0..KILLS {
            let killed = eventually("all workers are online, and one can be killed", || {
                let workers = cluster.workers();
                let are_online = workers.iter().all(|worker| worker["state"] == "online");
                let pid = workers.iter().filter_map(|worker| worker["pid"].as_i64()).next();
                let pid = pid.filter(|_| are_online)?;
                // It may have ended, and not be told of yet.
                kill_process(Pid::from_raw(i32::try_from(pid).ok()?)?, Signal::KILL).ok()?;
                u32::try_from(pid).ok()
            });
            eventually("it is gone", || (!is_alive(killed)).then_some(()));
        }
        is_over.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let served: usize = outcomes.iter().map(|outcome| outcome.served).sum();
    let cut: usize = outcomes.iter().map(|outcome| outcome.cut).sum();
    let refused: Vec<_> = outcomes.iter().flat_map(|outcome| &outcome.refused).collect();
    let wrong: Vec<_> = outcomes.iter().flat_map(|outcome| &outcome.wrong).collect();
    println!("{served} served, {cut} were in the hands of {KILLS} workers that were killed");
    assert!(refused.is_empty() && wrong.is_empty(), "{refused:?} {wrong:?}");
    // Each of the four clients has one request at a time.
    assert!(cut <= 4 * KILLS && served > 20 * cut.max(1), "{cut} of {served}");
}

#[test]
fn what_waits_for_a_frozen_worker_is_served_by_others() {
    let options = ["--health-interval", "200ms", "--health-timeout", "200ms", "--health-fall", "2"];
    let cluster = direct(2, &options).start_ready();
    let frozen = cluster.worker_pids()[0];
    send_signal(frozen, Signal::STOP);
    eventually("all of its threads have stopped", || {
        let mut threads = std::fs::read_dir(format!("/proc/{frozen}/task")).ok()?;
        let is_stopped = |thread: std::io::Result<std::fs::DirEntry>| {
            let stat = std::fs::read_to_string(thread.ok()?.path().join("stat")).ok()?;
            stat.rsplit(") ").next()?.starts_with('T').then_some(())
        };
        threads.all(|thread| is_stopped(thread).is_some()).then_some(())
    });
    let start = Instant::now();
    let until = start + Duration::from_secs(3);
    let outcomes: Vec<_> = thread::scope(|scope| {
        let clients: Vec<_> =
            (0..4).map(|_| scope.spawn(|| ask_freshly(&cluster, || Instant::now() < until))).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let took = start.elapsed();
    send_signal(frozen, Signal::CONT);
    for outcome in &outcomes {
        assert!(outcome.refused.is_empty() && outcome.wrong.is_empty(), "{outcome:?}");
        assert!(outcome.cut == 0 && outcome.served > 20, "{outcome:?}");
    }
    // None hung until the deadline of its read.
    assert!(took < Duration::from_secs(8), "{took:?}");
}

#[test]
fn fewer_workers_lose_no_connection() {
    let cluster = direct(4, &[]).start_ready();
    let (kept, fresh) = (Load::start(&cluster, 4), Load::of(&cluster, 2, "/cluster/info", false));
    for workers in ["1", "3", "1"] {
        let (code, out, err) = cluster.operate(&["scale", workers, "--wait"]);
        assert_eq!(code, 0, "{out}{err}");
        // The sockets of slots that are no more are closed a while later.
        eventually("the slots' sockets are as many as workers", || {
            let listening = std::fs::read_to_string("/proc/net/tcp").unwrap();
            let at = format!(":{:04X} 00000000:0000 0A", cluster.address.port());
            let count = listening.lines().filter(|line| line.contains(&at)).count();
            (count.to_string() == workers).then_some(())
        });
    }
    kept.finish_unharmed();
    fresh.finish_unharmed();
    assert_eq!(answering(&cluster, 10), ["1"]);
}

#[test]
fn connections_that_come_before_a_worker_is_ready_are_served() {
    let cluster = direct(2, &[]).start();
    let answer = cluster.get("/cluster/info");
    assert_eq!(answer.status, 200);
}

#[test]
fn nothing_is_left_of_a_primary_that_is_killed() {
    let mut cluster = direct(2, &[]).start_ready();
    let pids = cluster.worker_pids();
    cluster.signal(Signal::KILL);
    cluster.wait();
    eventually("the workers are gone", || pids.iter().all(|&pid| !is_alive(pid)).then_some(()));
    eventually("the port is free", || std::net::TcpListener::bind(cluster.address).ok());
}

#[test]
fn a_stop_finishes_what_clients_have_sent_and_refuses_what_comes_later() {
    let mut cluster = direct(2, &["--stop-timeout", "10s"]).start_ready();
    let mut slow: Vec<_> = (0..4)
        .map(|_| {
            let mut connection = Connection::open(cluster.address).unwrap();
            let body = b"{\"n\":41}";
            let kind = [("content-type", "application/json")];
            connection.send("POST", "/cluster/cpu-intensive", &kind, body).unwrap();
            connection
        })
        .collect();
    eventually("the requests are in flight", || {
        let all: u64 = cluster.workers().iter().map(|worker| worker["inFlight"].as_u64().unwrap_or(0)).sum();
        (all >= 1).then_some(())
    });
    let idle = Connection::open(cluster.address).unwrap();
    cluster.signal(Signal::TERM);
    for connection in &mut slow {
        assert_eq!(connection.receive(false).unwrap().status, 200);
    }
    assert!(cluster.wait().success(), "{:#?}", cluster.log());
    drop(idle);
    assert!(TcpStream::connect(cluster.address).is_err());
}

#[test]
fn what_only_a_balancer_between_could_do_is_refused() {
    for flags in [&["--strategy", "hash"][..], &["--access-log", "-"], &["--max-concurrency", "4"]] {
        let (code, text) = direct(2, flags).output();
        assert_eq!(code, 2, "{text}");
        assert!(text.contains(flags[0]) && text.contains("--dispatch direct"), "{text}");
        assert_eq!(text.trim_end().lines().count(), 1, "{text}");
    }
    let cluster = direct(1, &[]).start_ready();
    let (code, _, err) = cluster.operate(&["upgrade"]);
    assert!(code == 1 && err.contains("--dispatch direct"), "{err}");
    let (code, _, err) = cluster.operate(&["maintenance", "on"]);
    assert!(code == 1 && err.contains("--dispatch direct"), "{err}");
    assert_eq!(cluster.get("/cluster/info").status, 200);
}

fn node(options: &[&str]) -> Balancer {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/programs/direct.js");
    direct(2, options).with(&["--", "node", script]).env("PATH", &std::env::var("PATH").unwrap())
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn a_program_serves_the_sockets_that_it_inherits_and_reloads_lose_nothing() {
    let cluster = node(&[]).start_ready();
    let seen = cluster.get("/").text();
    assert!(seen.contains("fds 2 http:private pid is own true"), "{seen}");
    let (kept, fresh) = (Load::of(&cluster, 2, "/", true), Load::of(&cluster, 2, "/", false));
    for _ in 0..5 {
        let (code, out, err) = cluster.operate(&["reload"]);
        assert_eq!(code, 0, "{out}{err}");
    }
    kept.finish_unharmed();
    fresh.finish_unharmed();
    assert!(!cluster.log().iter().any(|line| line.contains("did not stop in time")));
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn connections_of_a_program_that_died_wait_for_its_successor_or_are_relayed() {
    let cluster = node(&[]).start_ready();
    for _ in 0..5 {
        eventually("both are online", || {
            cluster.workers().iter().all(|worker| worker["state"] == "online").then_some(())
        });
        let killed = cluster.worker_pids()[0];
        send_signal(killed, Signal::KILL);
        eventually("it is gone", || (!is_alive(killed)).then_some(()));
        for _ in 0..20 {
            assert_eq!(cluster.get("/").status, 200);
        }
    }
}
