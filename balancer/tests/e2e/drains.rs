//! Workers that are replaced or stopped while they have long-lived connections: the program
//! is told early, and the connections end one after the other.

use std::io::Read;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{Balancer, Cluster, DEADLINE, eventually, is_alive};
use crate::load::Load;

pub(super) const UP: &str = "GET /up HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
pub(super) const EVENTS: &str = "GET /events HTTP/1.1\r\nHost: x\r\n\r\n";

pub(super) fn realtime(workers: u32, options: &[&str]) -> Balancer {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/programs/realtime.js");
    let balancer = Balancer::cluster(workers).with(&["--health-path", "/slow"]).with(options);
    balancer.with(&["--", "node", script]).env("PATH", &std::env::var("PATH").unwrap())
}

/// A long-lived connection whose first bytes have come.
pub(super) fn open(cluster: &Cluster, request: &str) -> TcpStream {
    use std::io::Write;
    let mut stream = TcpStream::connect(cluster.address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("hello") {
        let mut bytes = [0; 1024];
        let count = stream.read(&mut bytes).unwrap();
        assert!(count > 0, "{}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&bytes[..count]);
    }
    stream
}

/// All that still comes on this connection, and how long after `since` it ends.
pub(super) fn to_its_end(mut stream: TcpStream, since: Instant) -> (String, Duration) {
    let mut rest = Vec::new();
    // It may be reset.
    let _ = stream.read_to_end(&mut rest);
    (String::from_utf8_lossy(&rest).into_owned(), since.elapsed())
}

/// How long after `since` these connections end, in order.
pub(super) fn ends(streams: Vec<TcpStream>, since: Instant) -> Vec<Duration> {
    let readers: Vec<_> =
        streams.into_iter().map(|stream| thread::spawn(move || to_its_end(stream, since).1)).collect();
    let mut ends: Vec<_> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
    ends.sort_unstable();
    ends
}

/// These ends are spread over `time`, of which a busy machine may take a part before the
/// first: no half of them comes within an eighth of it, where half of it is their share.
pub(super) fn assert_spread(ends: &[Duration], time: Duration) {
    let (first, last) = (ends[0], ends[ends.len() - 1]);
    assert!(last - first > time / 2, "all within {:?}: {ends:?}", last - first);
    for half in ends.windows(ends.len() / 2) {
        let took = half[half.len() - 1] - half[0];
        assert!(took > time / 8, "half of them within {took:?}: {ends:?}");
    }
}

pub(super) fn has_said(cluster: &Cluster, words: &str) -> Option<()> {
    cluster.log().iter().any(|line| line.contains(words)).then_some(())
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn a_reload_is_over_at_once_and_closes_are_spread() {
    let cluster = realtime(2, &["--drain-timeout", "4s"]).start_ready();
    let load = Load::of(&cluster, 2, "/slow?ms=5", true);
    let mut streams: Vec<_> = (0..16).map(|_| open(&cluster, UP)).collect();
    streams.extend((0..4).map(|_| open(&cluster, EVENTS)));
    let (old, start) = (cluster.worker_pids(), Instant::now());
    let (code, out, err) = cluster.operate(&["reload"]);
    let took = start.elapsed();
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("20 long-lived connections of the old ones"), "{out}");
    assert!(cluster.worker_pids().iter().all(|pid| !old.contains(pid)));
    let (_, shown, _) = cluster.operate(&["status"]);
    assert!(shown.contains("finishes") && shown.contains("long-lived connections"), "{shown}");
    assert_eq!(cluster.operate(&["scale", "3"]).0, 0, "other commands are carried out meanwhile");
    eventually("the programs are told early", || has_said(&cluster, "told to end with"));
    let ends = ends(streams, start);
    assert!(took < ends[10], "the reload is over while most of them are open: {took:?}, {ends:?}");
    assert_spread(&ends, Duration::from_secs(4));
    eventually("the programs have ended in order", || {
        (cluster.log().iter().filter(|line| line.contains("ends in order")).count() == 2).then_some(())
    });
    eventually("the old ones are gone", || old.iter().all(|&pid| !is_alive(pid)).then_some(()));
    load.finish_unharmed();
    assert!(!cluster.log().iter().any(|line| line.contains("did not stop in time")));
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn a_further_reload_and_a_stop_do_not_wait_for_long_lived_connections_of_earlier_ones() {
    let options = ["--drain-timeout", "60s", "--kill-timeout", "2s", "--stop-timeout", "1s"];
    let mut cluster = realtime(2, &options).start_ready();
    let held: Vec<_> = (0..3)
        .map(|round| {
            let streams: Vec<_> = (0..6).map(|_| open(&cluster, UP)).collect();
            let start = Instant::now();
            let (code, _, err) = cluster.operate(&["reload"]);
            assert_eq!(code, 0, "{err}");
            assert!(start.elapsed() < Duration::from_secs(10), "reload {round}: {:?}", start.elapsed());
            let told = 2 * (round + 1);
            eventually("the programs are told early", || {
                let lines = cluster.log();
                let told_now = lines.iter().filter(|line| line.contains("told to end with")).count();
                (told_now == told).then_some(())
            });
            streams
        })
        .collect();
    let (_, shown, _) = cluster.operate(&["status"]);
    let start = Instant::now();
    cluster.signal(Signal::TERM);
    assert!(cluster.wait().success());
    assert!(start.elapsed() < Duration::from_secs(6), "{:?}: {shown}", start.elapsed());
    assert_eq!(cluster.log().iter().filter(|line| line.contains("ends in order")).count(), 8);
    drop(held);
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn requests_go_first_and_then_the_program_is_told() {
    let cluster = realtime(1, &["--drain-timeout", "8s", "--stream-drain-timeout", "1s"]).start_ready();
    let stream = open(&cluster, UP);
    let slow = thread::spawn({
        let address = cluster.address;
        move || {
            let mut connection = crate::harness::Connection::open(address).unwrap();
            connection.send("GET", "/slow?ms=2000", &[], b"").unwrap();
            connection.receive(false).unwrap().status
        }
    });
    eventually("it is at work", || (cluster.workers()[0]["inFlight"] == 2).then_some(()));
    let start = Instant::now();
    assert_eq!(cluster.operate(&["reload"]).0, 0);
    assert!(has_said(&cluster, "told to end").is_none(), "a request is under way");
    assert_eq!(slow.join().unwrap(), 200);
    let (_, end) = to_its_end(stream, start);
    assert!(end > Duration::from_millis(2_500) && end < Duration::from_secs(6), "{end:?}");
    eventually("it has ended in order", || has_said(&cluster, "ends in order"));
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn a_program_says_goodbye_on_another_signal() {
    let options = ["--drain-timeout", "2s", "--drain-signal", "USR2"];
    let cluster = realtime(1, &options).env("SAYS_GOODBYE", "SIGUSR2").start_ready();
    let streams = [open(&cluster, UP), open(&cluster, EVENTS)];
    let start = Instant::now();
    assert_eq!(cluster.operate(&["reload"]).0, 0);
    for stream in streams {
        let (rest, _) = to_its_end(stream, start);
        assert!(rest.contains("bye"), "{rest}");
    }
    eventually("SIGTERM comes last", || has_said(&cluster, "told to end with 0 open"));
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn a_program_that_dies_of_sigterm_need_not_be_told() {
    let options = ["--drain-timeout", "3s", "--drain-signal", "off"];
    let cluster = realtime(1, &options).env("DIES", "1").start_ready();
    let streams: Vec<_> = (0..6).map(|_| open(&cluster, UP)).collect();
    let start = Instant::now();
    assert_eq!(cluster.operate(&["reload"]).0, 0);
    let ends = ends(streams, start);
    assert!(ends[5] - ends[0] > Duration::from_millis(1_500), "{ends:?}");
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn event_streams_that_a_program_ends_when_it_is_told_are_no_fault_and_half_a_response_is_one() {
    let cluster = realtime(1, &["--drain-timeout", "3s"]).env("DIES", "1").start_ready();
    let streams: Vec<_> = (0..4).map(|_| open(&cluster, EVENTS)).collect();
    let old = cluster.worker_pids();
    assert_eq!(cluster.operate(&["reload"]).0, 0);
    ends(streams, Instant::now());
    eventually("the old one is gone", || (!is_alive(old[0])).then_some(()));
    let half = open(&cluster, "GET /part HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(cluster.operate(&["reload"]).0, 0);
    to_its_end(half, Instant::now());
    eventually("it is said", || has_said(&cluster, "had to end before all of its response"));
    let failed = cluster.log().iter().filter(|line| line.contains("a request failed")).count();
    assert_eq!(failed, 1, "{:?}", cluster.log());
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn a_request_that_does_not_end_is_cut_at_the_drain_timeout_and_the_program_ends_in_order() {
    let cluster = realtime(1, &["--drain-timeout", "1s", "--kill-timeout", "20s"]).start_ready();
    let mut client = crate::harness::Connection::open(cluster.address).unwrap();
    client.send("GET", "/slow?ms=60000", &[], b"").unwrap();
    eventually("it is at work", || (cluster.workers()[0]["inFlight"] == 1).then_some(()));
    let old = cluster.worker_pids();
    assert_eq!(cluster.operate(&["reload"]).0, 0);
    assert_eq!(client.receive(false).unwrap().status, 504);
    eventually("it has ended in order", || has_said(&cluster, "ends in order"));
    eventually("the old one is gone", || (!is_alive(old[0])).then_some(()));
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn a_stop_ends_with_the_last_connection() {
    let mut cluster = realtime(2, &["--drain-timeout", "30s"]).env("SAYS_GOODBYE", "SIGTERM").start_ready();
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let mut stream = open(&cluster, UP);
            // Leaves when it is told.
            thread::spawn(move || {
                let mut bytes = [0; 64];
                let count = stream.read(&mut bytes).unwrap();
                String::from_utf8_lossy(&bytes[..count]).into_owned()
            })
        })
        .collect();
    let start = Instant::now();
    cluster.signal(Signal::TERM);
    assert!(cluster.wait().success());
    let took = start.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    for client in clients {
        assert!(client.join().unwrap().contains("bye"));
    }
    assert!(cluster.log().iter().filter(|line| line.contains("ends in order")).count() == 2);
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn a_stop_closes_what_does_not_leave_and_says_what_it_waits_for() {
    let mut cluster = realtime(2, &["--stop-timeout", "2s"]).start_ready();
    let mut streams: Vec<_> = (0..6).map(|_| open(&cluster, UP)).collect();
    streams.push(open(&cluster, EVENTS));
    let start = Instant::now();
    cluster.signal(Signal::TERM);
    let ends = ends(streams, start);
    assert!(cluster.wait().success());
    assert!(ends[6] - ends[0] > Duration::from_secs(1), "{ends:?}");
    assert!(start.elapsed() < Duration::from_secs(6));
    assert!(has_said(&cluster, "7 long-lived connections").is_some(), "{:?}", cluster.log());
    assert_eq!(cluster.log().iter().filter(|line| line.contains("ends in order")).count(), 2);
}
