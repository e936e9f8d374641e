//! Workers that are replaced one by one: a program with a port and a lock of its own for each
//! `WORKER_ID` is reloaded under load, and a reload that fails half way says what it leaves.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Balancer, Cluster, Connection, DEADLINE, eventually, is_alive, send_signal};
use crate::load::Load;

const SERVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/programs/one_by_one.py");
const MODE: [&str; 2] = ["--reload-mode", "one-by-one"];

/// A part of 127.0.0.0/8 that is no other test's, so that ports there are free.
fn own_address() -> String {
    static TESTS: AtomicU32 = AtomicU32::new(1);
    let (test, pid) = (TESTS.fetch_add(1, Ordering::Relaxed) % 254 + 1, std::process::id());
    format!("127.{}.{}.{test}", pid / 255 % 253 + 1, pid % 255)
}

/// The program, as `workers` workers that read `app.env`.
fn program(workers: u32, options: &[&str]) -> Balancer {
    let balancer = Balancer::cluster(workers).with(&["--health-path", "/health", "--env-file", "app.env"]);
    let balancer = balancer.with(options).with(&["--", "python3", SERVER]);
    let balancer = balancer.env("PATH", &std::env::var("PATH").unwrap()).env("SECOND_HOST", &own_address());
    fs::write(balancer.directory().join("app.env"), "RELEASE=first\n").unwrap();
    balancer
}

fn install(cluster: &Cluster, variables: &str) {
    fs::write(cluster.directory().join("app.env"), variables).unwrap();
}

/// Clients that post without a pause; what is posted is repeated by no balancer.
struct Posts {
    stop: Arc<AtomicBool>,
    clients: Vec<thread::JoinHandle<(usize, Vec<String>)>>,
}

impl Posts {
    fn start(cluster: &Cluster, clients: usize) -> Self {
        let (stop, address) = (Arc::new(AtomicBool::new(false)), cluster.address);
        let client = |client: usize| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                let (mut served, mut failures) = (0, Vec::new());
                while !stop.load(Ordering::Relaxed) {
                    let body = format!("{client}: {served}");
                    let mut connection = Connection::open(address).unwrap();
                    let sent = connection.send("POST", "/", &[("connection", "close")], body.as_bytes());
                    match sent.and_then(|()| connection.receive(false)) {
                        Ok(answer) if answer.status == 200 && answer.text() == body => served += 1,
                        other => failures.push(format!("{other:?}")),
                    }
                }
                (served, failures)
            })
        };
        let clients = (0..clients).map(client).collect();
        Self { stop, clients }
    }

    fn finish_unharmed(self) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            let (served, failures) = client.join().unwrap();
            assert!(failures.is_empty(), "{} of {served} failed: {:?}", failures.len(), failures.first());
            assert!(served > 0);
        }
    }
}

/// The release that worker `id` says it runs.
fn release_of(cluster: &Cluster, id: u32) -> String {
    eventually("the worker answers", || {
        let answer = cluster.get("/").text();
        let mut words = answer.split(' ');
        (words.next()? == id.to_string()).then(|| words.nth(1).unwrap_or_default().to_owned())
    })
}

fn releases(cluster: &Cluster) -> Vec<u64> {
    cluster.workers().iter().filter_map(|worker| worker["release"].as_u64()).collect()
}

fn pid_of(cluster: &Cluster, id: u32) -> u32 {
    let workers = cluster.workers();
    workers.iter().find(|worker| worker["id"] == id).unwrap()["pid"].as_u64().unwrap() as u32
}

fn count_in_log(cluster: &Cluster, words: &str) -> usize {
    cluster.log().iter().filter(|line| line.contains(words)).count()
}

fn upgraded(cluster: &Cluster) -> TcpStream {
    let mut stream = TcpStream::connect(cluster.address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let head = "GET /up HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"hello") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        seen.push(byte[0]);
    }
    stream
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn each_worker_ends_before_its_successor_starts_and_no_client_notices() {
    let cluster = program(4, &MODE).start_ready();
    let (gets, fresh) = (Load::of(&cluster, 2, "/?s=0.005", true), Load::of(&cluster, 1, "/", false));
    let posts = Posts::start(&cluster, 2);
    for round in 2..=3 {
        let before = cluster.worker_pids();
        install(&cluster, &format!("RELEASE={round}\n"));
        let (code, out, err) = cluster.operate(&["reload"]);
        assert_eq!(code, 0, "{out}{err}");
        for place in 1..=4 {
            assert!(out.contains(&format!("{place} of 4")), "{out}");
        }
        let order: Vec<_> = out.lines().filter(|line| line.starts_with("worker 1")).collect();
        for (line, word) in order.iter().zip(["draining", "stopped", "started", "ready"]) {
            assert!(line.contains(word), "{out}");
        }
        assert!(before.iter().all(|&pid| !is_alive(pid)), "done means that the old ones are gone");
        assert_eq!(releases(&cluster), [round; 4]);
        assert_eq!(release_of(&cluster, 4), round.to_string());
    }
    gets.finish_unharmed();
    fresh.finish_unharmed();
    posts.finish_unharmed();
    assert_eq!(cluster.metric("reloads_total{outcome=\"done\"}"), 2);
    let restarts: Vec<_> = cluster.workers().iter().map(|worker| worker["restarts"].clone()).collect();
    assert_eq!(restarts, [0, 0, 0, 0], "a reload is no restart");
    assert_eq!(count_in_log(&cluster, "in use") + count_in_log(&cluster, "temporarily unavailable"), 0);
}

#[test]
fn bundled_workers_have_their_turns_as_well() {
    let cluster = Balancer::cluster(3).with(&MODE).start_ready();
    let load = Load::start(&cluster, 3);
    let before = cluster.worker_pids();
    let (code, out, err) = cluster.operate(&["reload"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("3 of 3") && out.contains("done: 3 workers"), "{out}");
    assert!(before.iter().all(|&pid| !is_alive(pid)));
    load.finish_unharmed();
    assert_eq!(releases(&cluster), [2, 2, 2]);
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn a_worker_that_keeps_failing_has_its_turn_first_and_is_mended() {
    let balancer = program(2, &MODE);
    fs::write(balancer.directory().join("app.env"), "RELEASE=first\nFAIL_AT=2\n").unwrap();
    let cluster = balancer.start();
    eventually("the second one fails", || {
        let workers = cluster.workers();
        (workers[0]["state"] == "online" && workers[1]["state"] == "backoff").then_some(())
    });
    let load = Load::of(&cluster, 2, "/", true);
    install(&cluster, "RELEASE=second\n");
    let (code, out, err) = cluster.operate(&["reload"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.find("worker 2  ready") < out.find("worker 1  draining"), "{out}");
    cluster.wait_ready();
    load.finish_unharmed();
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn a_reload_that_fails_at_the_third_says_what_it_leaves_and_whoever_ends_comes_back_as_it_was() {
    let cluster = program(4, &MODE).start_ready();
    let (gets, posts) = (Load::of(&cluster, 2, "/", true), Posts::start(&cluster, 1));
    let fourth = pid_of(&cluster, 4);
    install(&cluster, "RELEASE=second\nFAIL_AT=3\n");
    let (code, _, err) = cluster.operate(&["reload"]);
    assert_eq!(code, 1);
    let left = "2 of 4 workers have the new release, worker 3 is down and is started again with the old one, \
                worker 4 has the old one";
    assert!(err.contains("worker 3: ended before it was ready: exit status: 1"), "{err}");
    assert!(err.contains(left) && err.contains("this release does not work here"), "{err}");
    assert_eq!(count_in_log(&cluster, left), 1);
    cluster.wait_ready();
    gets.finish_unharmed();
    posts.finish_unharmed();
    assert_eq!(cluster.metric("reloads_total{outcome=\"partial\"}"), 1);
    assert_eq!(pid_of(&cluster, 4), fourth, "its turn never came");
    assert_eq!(releases(&cluster), [2, 2, 1, 1]);
    let (_, shown, _) = cluster.operate(&["status"]);
    assert!(shown.contains("2 of 4 workers have release 2, 2 have release 1"), "{shown}");
    assert!(shown.contains("RELEASE"), "{shown}");
    let events = cluster.admin("/events").json();
    let is_told = |event: &Value| event["detail"].as_str().unwrap().contains(left);
    assert!(events.as_array().unwrap().iter().any(is_told));

    for (id, release) in [(1, "second"), (3, "first")] {
        let victim = pid_of(&cluster, id);
        send_signal(victim, Signal::KILL);
        eventually("it is back", || (cluster.worker_pids().iter().all(|&pid| pid != victim)).then_some(()));
        cluster.wait_ready();
        assert_eq!(release_of(&cluster, id), release);
    }
    assert_eq!(cluster.operate(&["scale", "5"]).0, 0);
    assert_eq!(releases(&cluster), [2, 2, 1, 1, 1], "the new release has not shown that it works");

    install(&cluster, "RELEASE=third\n");
    let (code, _, err) = cluster.operate(&["reload"]);
    assert_eq!(code, 0, "{err}");
    assert_eq!(releases(&cluster), [3; 5]);
    assert!(!cluster.operate(&["status"]).1.contains("RELEASE"));
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn all_at_once_such_a_program_fails_with_a_hint_and_one_reload_can_be_made_in_another_mode() {
    let cluster = program(2, &[]).start_ready();
    let before = cluster.worker_pids();
    let (code, _, err) = cluster.operate(&["reload"]);
    assert_eq!(code, 1);
    assert!(err.contains("--reload-mode one-by-one") && err.contains("Address already in use"), "{err}");
    assert_eq!(cluster.worker_pids(), before);
    let (code, _, err) = cluster.operate(&["reload", "--mode", "one-by-one"]);
    assert_eq!(code, 0, "{err}");
    assert!(cluster.worker_pids().iter().all(|pid| !before.contains(pid)));
    let (code, _, err) = cluster.operate(&["reload", "--mode", "rolling"]);
    assert_eq!(code, 2);
    assert!(err.contains("rolling") && err.contains("all or one-by-one"), "{err}");
    let (code, text) = Balancer::cluster(1).with(&["--reload-mode", "rolling"]).output();
    assert_eq!(code, 2);
    assert!(text.contains("--reload-mode") && text.contains("all or one-by-one"), "{text}");
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn requests_wait_for_the_successor_of_the_only_worker_and_it_is_said_once() {
    let cluster = program(1, &MODE).start_ready();
    let (gets, posts) = (Load::of(&cluster, 2, "/", true), Posts::start(&cluster, 1));
    let gap = "no other worker serves while this one is replaced";
    let (code, out, err) = cluster.operate(&["reload"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains(gap), "{out}");
    assert_eq!(cluster.operate(&["reload"]).0, 0);
    gets.finish_unharmed();
    posts.finish_unharmed();
    assert_eq!(count_in_log(&cluster, gap), 1);
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn a_worker_that_reaches_a_limit_ends_before_its_successor_starts() {
    let options = [&MODE[..], &["--max-requests", "60"]].concat();
    let cluster = program(2, &options).start_ready();
    let (gets, posts) = (Load::of(&cluster, 2, "/", true), Posts::start(&cluster, 1));
    eventually("both were replaced", || {
        (1..=2)
            .all(|id| {
                let name = format!("worker_replacements_total{{worker=\"{id}\",reason=\"max-requests\"}}");
                let text = cluster.admin("/metrics").text();
                let found = text.lines().find(|line| line.contains(&name)).map(str::to_owned);
                found.is_some_and(|line| !line.ends_with(" 0"))
            })
            .then_some(())
    });
    gets.finish_unharmed();
    posts.finish_unharmed();
    assert_eq!(count_in_log(&cluster, "in use") + count_in_log(&cluster, "temporarily unavailable"), 0);
    assert!(cluster.workers().iter().all(|worker| worker["restarts"] == 0));
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn a_worker_with_a_long_lived_connection_has_its_time_and_it_is_said_which() {
    let options = [&MODE[..], &["--stream-drain-timeout", "1s", "--drain-signal", "off"]].concat();
    let cluster = program(2, &options).start_ready();
    let mut held = upgraded(&cluster);
    let start = Instant::now();
    let (code, out, err) = cluster.operate(&["reload"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("of 2: 1 long-lived connection, up to 1s"), "{out}");
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    // It may be reset.
    let _ = held.read_to_end(&mut Vec::new());
    assert!(start.elapsed() < Duration::from_secs(15), "it was closed before its worker ended");
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn long_lived_connections_of_the_only_worker_do_not_keep_everybody_waiting() {
    let options = [&MODE[..], &["--drain-signal", "off"]].concat();
    let cluster = program(1, &options).start_ready();
    let _held: Vec<_> = (0..4).map(|_| upgraded(&cluster)).collect();
    let (load, start) = (Load::of(&cluster, 2, "/", true), Instant::now());
    let (code, out, err) = cluster.operate(&["reload"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("4 long-lived connections"), "{out}");
    assert!(start.elapsed() < Duration::from_secs(20), "not the drain timeout: {:?}", start.elapsed());
    load.finish_unharmed();
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn a_worker_that_does_not_end_is_killed_before_its_successor_starts() {
    let options = [&MODE[..], &["--kill-timeout", "500ms"]].concat();
    let cluster = program(2, &options).env("STUBBORN", "1").start_ready();
    let before = cluster.worker_pids();
    let (code, _, err) = cluster.operate(&["reload"]);
    assert_eq!(code, 0, "{err}");
    assert!(before.iter().all(|&pid| !is_alive(pid)));
    assert_eq!(count_in_log(&cluster, "did not stop in time"), 2);
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn other_changes_and_crashes_during_such_a_reload() {
    let mut cluster = program(3, &MODE).start_ready();
    install(&cluster, "RELEASE=second\nHANG_AT=2\n");
    thread::scope(|scope| {
        let reload = scope.spawn(|| cluster.operate(&["reload"]));
        eventually("the second one hangs", || {
            let second = &cluster.workers()[1];
            (second["state"] == "starting" && second["release"] == 2).then_some(())
        });
        for (command, why) in [
            (&["reload"][..], "a reload is under way"),
            (&["scale", "5"], "a reload is under way"),
            (&["reload", "--mode", "all"], "a reload is under way"),
        ] {
            let (code, _, err) = cluster.operate(command);
            assert_eq!(code, 1);
            assert!(err.contains(why), "{command:?}: {err}");
        }
        let victim = pid_of(&cluster, 3);
        send_signal(victim, Signal::KILL);
        eventually("another worker that crashes is back as it was", || {
            let third = &cluster.workers()[2];
            (third["state"] == "online" && third["pid"] != victim && third["release"] == 1).then_some(())
        });
        let pids = cluster.worker_pids();
        cluster.signal(Signal::TERM);
        let (code, _, err) = reload.join().unwrap();
        assert_eq!(code, 1);
        assert!(err.contains("the cluster is stopping"), "{err}");
        eventually("all are gone", || pids.iter().all(|&pid| !is_alive(pid)).then_some(()));
    });
    assert!(cluster.wait().success());
}
