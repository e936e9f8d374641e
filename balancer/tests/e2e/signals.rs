//! Signals: how programs are told to end, and what signals to the primary mean.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use shared_process::tree::descendants;

use crate::harness::{Answer, Balancer, Cluster, Connection, eventually, is_alive};
use crate::terminal::{CTRL_C, CTRL_Z, Terminal};

const SERVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/programs/signals.py");

/// The command runs `$SERVER KIND` in a shell.
fn program(script: &str) -> Balancer {
    let balancer = Balancer::cluster(1).with(&["--", "sh", "-c", script]);
    let notes = balancer.directory().join("notes").to_str().unwrap().to_owned();
    balancer.env("PATH", &std::env::var("PATH").unwrap()).env("NOTES", &notes).env("SERVER", SERVER)
}

/// What the program has noted, with pids.
fn notes(cluster: &Cluster) -> Vec<(String, u32)> {
    let text = fs::read_to_string(cluster.directory().join("notes")).unwrap_or_default();
    let notes = text.lines().filter_map(|line| line.split_once(' '));
    notes.map(|(what, pid)| (what.to_owned(), pid.parse().unwrap())).collect()
}

fn noted(cluster: &Cluster, what: &str) -> Vec<u32> {
    notes(cluster).into_iter().filter(|(noted, _)| noted == what).map(|(_, pid)| pid).collect()
}

/// Stops the cluster; nothing is left, and nobody was killed or is complained of.
fn stop(cluster: &mut Cluster) {
    let pids = descendants(cluster.pid());
    cluster.signal(Signal::TERM);
    assert!(cluster.wait().success());
    assert!(pids.iter().all(|&pid| !is_alive(pid)));
    let warnings: Vec<_> = cluster.events().into_iter().filter(|event| event["level"] == "WARN").collect();
    assert!(warnings.is_empty(), "{warnings:?}");
}

fn in_flight(cluster: &Cluster) -> u64 {
    cluster.workers().iter().map(|worker| worker["inFlight"].as_u64().unwrap()).sum()
}

/// A request that takes so many seconds, once a worker has it.
fn ask(cluster: &Cluster, seconds: f64) -> thread::JoinHandle<std::io::Result<Answer>> {
    let mut connection = Connection::open(cluster.address).unwrap();
    connection.send("GET", &format!("/?s={seconds}"), &[("connection", "close")], b"").unwrap();
    eventually("a worker has it", || (in_flight(cluster) == 1).then_some(()));
    thread::spawn(move || connection.receive(false))
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn a_master_is_told_and_its_workers_are_not() {
    for kind in ["prefork", "reuseport"] {
        let mut cluster = program(&format!("exec python3 $SERVER {kind}")).start_ready();
        eventually("all are up", || (noted(&cluster, "up").len() == 2).then_some(()));
        eventually("the master is", || (noted(&cluster, "master").len() == 1).then_some(()));
        stop(&mut cluster);
        assert_eq!(noted(&cluster, "SIGTERM"), noted(&cluster, "master"), "{kind}: {:?}", notes(&cluster));
        assert_eq!(noted(&cluster, "closed").len(), 3, "{kind}: {:?}", notes(&cluster));
        assert!(noted(&cluster, "anew").is_empty(), "{kind}: none is started anew");
    }
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn siblings_that_share_the_port_are_all_told_once() {
    let mut cluster = program("exec python3 $SERVER closed").start_ready();
    eventually("all are up", || (noted(&cluster, "up").len() == 2).then_some(()));
    stop(&mut cluster);
    let (mut told, mut up) = (noted(&cluster, "SIGTERM"), noted(&cluster, "up"));
    told.sort_unstable();
    up.sort_unstable();
    assert_eq!(told, up);
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn a_server_below_shells_is_told_once_and_first() {
    let hands_on = "trap 'kill -TERM $!; wait' TERM; python3 $SERVER alone & wait";
    let keeps = "python3 $SERVER alone & sleep 1000 & wait";
    let elsewhere = "setsid python3 $SERVER alone & wait";
    for script in [hands_on, keeps, elsewhere, "python3 $SERVER alone | cat"] {
        let mut cluster = program(script).start_ready();
        stop(&mut cluster);
        let said: Vec<_> = notes(&cluster).into_iter().map(|(what, _)| what).collect();
        assert_eq!(said, ["up", "SIGTERM", "closed"], "{script}");
    }
}

#[test]
fn programs_that_do_not_listen_yet_are_told_as_well() {
    for script in ["sleep 1000; exec no", "sleep 1000 & sleep 1000 & wait", "setsid sleep 1000 & wait"] {
        let mut cluster = program(script).start();
        eventually("it runs", || (descendants(cluster.pid()).len() >= 3).then_some(()));
        let began = Instant::now();
        stop(&mut cluster);
        assert!(began.elapsed() < Duration::from_secs(4), "not killed: {:?}", began.elapsed());
    }
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn exit_143_is_orderly_when_asked_for_and_a_crash_otherwise() {
    let mut cluster = program("python3 $SERVER alone; exit 143").start_ready();
    stop(&mut cluster);
    let cluster = program("exec python3 $SERVER alone").start_ready();
    let server = noted(&cluster, "up")[0];
    crate::harness::send_signal(server, Signal::TERM);
    eventually("the end is said", || {
        cluster.events().into_iter().find(|event| event["level"] == "WARN").map(|_| ())
    });
    eventually("it is replaced", || (noted(&cluster, "up").len() == 2).then_some(()));
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn signals_within_a_second_are_the_first_one() {
    let mut cluster = program("exec python3 $SERVER alone").start_ready();
    let asked = ask(&cluster, 0.8);
    for signal in [Signal::INT, Signal::TERM, Signal::INT, Signal::INT, Signal::TERM] {
        cluster.signal(signal);
        eventually("it is draining", || {
            cluster.log().iter().any(|line| line.contains("shutting")).then_some(())
        });
    }
    assert_eq!(asked.join().unwrap().unwrap().status, 200);
    assert_eq!(cluster.wait().code(), Some(0));
    let log = cluster.log().join("\n");
    assert!(log.contains("1 request in flight, up to 30s; a second signal stops at once"), "{log}");
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn other_signals_do_nothing_during_a_shutdown() {
    let mut cluster = program("exec python3 $SERVER alone").start_ready();
    let asked = ask(&cluster, 1.0);
    cluster.signal(Signal::TERM);
    for signal in [Signal::HUP, Signal::TTIN, Signal::TTOU] {
        eventually("it is draining", || {
            cluster.log().iter().any(|line| line.contains("shutting")).then_some(())
        });
        cluster.signal(signal);
    }
    assert_eq!(asked.join().unwrap().unwrap().status, 200);
    assert_eq!(cluster.wait().code(), Some(0));
    let ignored = cluster.log().into_iter().filter(|line| line.contains("does nothing during")).count();
    assert_eq!((ignored, noted(&cluster, "up").len()), (3, 1));
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn a_terminal_that_closes_stops_the_cluster_in_order() {
    for round in 0..20 {
        let balancer = program("exec python3 $SERVER alone");
        // A session's leader that is a shell, and the primary as one.
        let by: &[&str] = if round % 2 == 0 { &["./run"] } else { &["sh", "-c", "./run; true"] };
        let (mut cluster, terminal) = Terminal::start(balancer, by);
        cluster.wait_ready();
        let pids = descendants(cluster.pid());
        let asked = ask(&cluster, 0.3);
        drop(terminal);
        assert_eq!(asked.join().unwrap().unwrap().status, 200, "round {round}");
        let status = cluster.wait();
        assert!(round % 2 == 1 || status.success(), "round {round}: {status}");
        eventually("nothing is left", || pids.iter().all(|&pid| !is_alive(pid)).then_some(()));
        assert_eq!(noted(&cluster, "closed").len(), 1, "round {round}");
    }
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn ctrl_c_at_a_terminal_says_what_it_waits_for() {
    let (mut cluster, mut terminal) = Terminal::start(program("exec python3 $SERVER alone"), &["./run"]);
    cluster.wait_ready();
    let asked = ask(&cluster, 0.5);
    terminal.press(CTRL_C);
    assert_eq!(asked.join().unwrap().unwrap().status, 200);
    assert!(cluster.wait().success());
    let log = cluster.log().join("\n");
    assert!(log.contains("1 request in flight, up to 30s; Ctrl-C again stops at once"), "{log}");
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn a_stopped_and_continued_primary_loses_nothing() {
    let shell = "set -m; ./run; echo stopped; read line; fg";
    let (mut cluster, mut terminal) =
        Terminal::start(program("exec python3 $SERVER alone"), &["sh", "-c", shell]);
    cluster.wait_ready();
    let asked = ask(&cluster, 0.2);
    terminal.press(CTRL_Z);
    eventually("it has stopped", || cluster.log().iter().any(|line| line == "stopped").then_some(()));
    terminal.press(b'\n');
    assert_eq!(asked.join().unwrap().unwrap().status, 200);
    assert_eq!(cluster.get("/").status, 200);
    terminal.press(CTRL_C);
    cluster.wait();
    assert_eq!(noted(&cluster, "closed").len(), 1);
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn a_background_job_that_may_not_write_does_not_scale() {
    // The shell waits in the foreground; with tostop the kernel sends SIGTTOU to who writes.
    let shell = "set -m; ./run & read line; stty tostop; echo tostop; read line; kill %1; wait";
    let balancer = program("exec python3 $SERVER alone");
    let (mut cluster, mut terminal) = Terminal::start(balancer, &["sh", "-c", shell]);
    cluster.wait_ready();
    let listening = cluster.events().into_iter().find(|event| event["pid"].is_u64()).unwrap();
    let primary = listening["pid"].as_u64().unwrap() as u32;
    terminal.press(b'\n');
    eventually("tostop is set", || cluster.log().iter().any(|line| line == "tostop").then_some(()));
    let scaled = |to: usize| {
        eventually("it has scaled", || (cluster.workers().len() == to).then_some(()));
        cluster.wait_ready();
    };
    crate::harness::send_signal(primary, Signal::TTIN);
    scaled(2);
    assert_eq!(cluster.operate(&["reload"]).0, 0);
    assert_eq!(cluster.workers().len(), 2, "no line of the log has scaled it down");
    crate::harness::send_signal(primary, Signal::TTOU);
    scaled(1);
    terminal.press(b'\n');
    cluster.wait();
}

#[test]
#[ignore = "needs python3: bash .ci/setup"]
fn a_shim_survives_what_is_sent_to_every_process() {
    let cluster = program("exec python3 $SERVER alone").start_ready();
    let server = noted(&cluster, "up")[0];
    let stat = fs::read_to_string(format!("/proc/{server}/stat")).unwrap();
    let shim = stat.rsplit(')').next().unwrap().split_whitespace().nth(1).unwrap().parse().unwrap();
    for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT] {
        crate::harness::send_signal(shim, signal);
    }
    assert_eq!(cluster.get("/").text(), server.to_string());
    assert!(is_alive(shim));
    let status = fs::read_to_string(format!("/proc/{server}/status")).unwrap();
    let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap();
    assert_eq!(u64::from_str_radix(blocked.trim(), 16).unwrap(), 0, "the program has none of them blocked");
}
