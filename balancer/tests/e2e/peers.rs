//! Clients that leave, workers that end with a request in hand, and connections that a
//! worker keeps for a short time.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Balancer, Cluster, Connection, DEADLINE, eventually};

/// The program of these tests, as `workers` workers, with an access log.
pub fn peers(workers: u32, options: &[&str]) -> Balancer {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/programs/peers.js");
    let balancer = Balancer::cluster(workers).with(options).with(&["--access-log", "access.log"]);
    let balancer = balancer.with(&["--access-log-format", "json", "--", "node", script]);
    let notes = balancer.directory().join("notes").to_str().unwrap().to_owned();
    balancer.env("NOTES", &notes).env("PATH", &std::env::var("PATH").unwrap())
}

/// What the program has noted of this kind, as URLs.
pub fn noted(cluster: &Cluster, what: &str) -> Vec<String> {
    let text = std::fs::read_to_string(cluster.directory().join("notes")).unwrap_or_default();
    let notes = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let notes = notes.filter(|note| note["what"] == what);
    notes.map(|note| note["url"].as_str().unwrap().to_owned()).collect()
}

pub fn statuses(cluster: &Cluster) -> Vec<u64> {
    let text = std::fs::read_to_string(cluster.directory().join("access.log")).unwrap_or_default();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter_map(|line| line["status"].as_u64()).collect()
}

pub fn in_flight(cluster: &Cluster) -> u64 {
    cluster.workers().iter().map(|worker| worker["inFlight"].as_u64().unwrap()).sum()
}

/// How a client leaves.
#[derive(Debug, Clone, Copy)]
enum Leaving {
    Close,
    HalfClose,
    Reset,
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn a_worker_learns_at_once_of_a_client_that_leaves() {
    let cluster = peers(1, &[]).start_ready();
    let upgrade = "Connection: Upgrade\r\nUpgrade: test\r\n";
    let mut left = 0;
    for (path, fields, status) in [("/slow?ms=60000", "", 499), ("/events", "", 499), ("/up", upgrade, 101)] {
        for leaving in [Leaving::Close, Leaving::HalfClose, Leaving::Reset] {
            let url = format!("{path}{}by={leaving:?}", if path.contains('?') { '&' } else { '?' });
            let mut client = TcpStream::connect(cluster.address).unwrap();
            write!(client, "GET {url} HTTP/1.1\r\nHost: a\r\n{fields}\r\n").unwrap();
            eventually("the worker has it", || noted(&cluster, "begun").contains(&url).then_some(()));
            if status == 101 {
                assert!(client.read(&mut [0; 1024]).unwrap() > 0, "the upgrade is complete");
            }
            let began = Instant::now();
            match leaving {
                Leaving::HalfClose => client.shutdown(Shutdown::Write).unwrap(),
                Leaving::Reset => {
                    rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
                    client.shutdown(Shutdown::Read).unwrap();
                }
                Leaving::Close => {}
            }
            let kept = matches!(leaving, Leaving::HalfClose).then_some(client);
            eventually("the worker knows", || noted(&cluster, "left").contains(&url).then_some(()));
            assert!(began.elapsed() < Duration::from_secs(2), "{url}: {:?}", began.elapsed());
            eventually("nothing is in flight", || (in_flight(&cluster) == 0).then_some(()));
            left += 1;
            eventually("it is logged", || (statuses(&cluster).len() == left).then_some(()));
            assert_eq!(statuses(&cluster).last(), Some(&status), "{url}");
            drop(kept);
        }
    }
    assert_eq!(noted(&cluster, "begun").len(), left, "nothing was tried again");
    assert_eq!(cluster.metric("requests_total{worker=\"1\",status=\"499\"}"), 6);
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn a_client_that_leaves_gives_up_its_place_in_the_queue() {
    let cluster = peers(1, &["--max-concurrency", "1", "--queue-timeout", "30s"]).start_ready();
    let mut holder = Connection::open(cluster.address).unwrap();
    holder.send("GET", "/slow?ms=60000", &[], b"").unwrap();
    eventually("the worker is full", || (in_flight(&cluster) == 1).then_some(()));
    for how in [Leaving::Close, Leaving::HalfClose, Leaving::Reset] {
        let mut leaver = Connection::open(cluster.address).unwrap();
        leaver.send("POST", "/left", &[], b"x").unwrap();
        eventually("it waits", || (cluster.metric("requests_queued") == 1).then_some(()));
        let _kept = match how {
            Leaving::Close => {
                drop(leaver);
                None
            }
            Leaving::HalfClose => leaver.stop_sending().map(|()| Some(leaver)).unwrap(),
            Leaving::Reset => {
                leaver.reset();
                None
            }
        };
        eventually("nobody waits", || (cluster.metric("requests_queued") == 0).then_some(()));
    }
    eventually("they are logged", || (statuses(&cluster) == [499; 3]).then_some(()));
    assert_eq!(noted(&cluster, "begun"), ["/slow?ms=60000"]);
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn a_request_that_ends_its_worker_ends_two_at_most() {
    for warm in [false, true] {
        let cluster = peers(4, &[]).start_ready();
        let mut client = Connection::open(cluster.address).unwrap();
        for _ in 0..if warm { 16 } else { 0 } {
            client.send("GET", "/", &[], b"").unwrap();
            assert_eq!(client.receive(false).unwrap().status, 200);
        }
        client.send("GET", "/die", &[], b"").unwrap();
        assert_eq!(client.receive(false).unwrap().status, 502);
        assert_eq!(noted(&cluster, "begun").iter().filter(|url| *url == "/die").count(), 2);
        eventually("both are replaced", || {
            let workers = cluster.workers();
            let restarts: u64 = workers.iter().map(|worker| worker["restarts"].as_u64().unwrap()).sum();
            (restarts == 2 && workers.iter().all(|worker| worker["state"] == "online")).then_some(())
        });
        assert_eq!(cluster.request("POST", "/die", &[], b"x").status, 502);
        let begun = noted(&cluster, "begun").iter().filter(|url| *url == "/die").count();
        assert_eq!(begun, 3, "a POST is not run again");
    }
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn no_post_meets_a_connection_that_its_worker_is_closing() {
    // With more of them than by default, also around longer timeouts.
    let pairs: Option<usize> = std::env::var("POST_PAIRS").ok().map(|count| count.parse().unwrap());
    let timeouts: &[&str] = if pairs.is_some() { &["1000", "2000", "5000"] } else { &["1000"] };
    for (keep_ms, bare) in timeouts.iter().flat_map(|keep_ms| [(*keep_ms, ""), (*keep_ms, "1")]) {
        let pairs = pairs.unwrap_or(300);
        let cluster = peers(2, &[]).env("KEEP_MS", keep_ms).env("BARE", bare).start_ready();
        let keep: u64 = keep_ms.parse().unwrap();
        let pair = |index: usize| {
            let address = cluster.address;
            thread::spawn(move || {
                let mut client = Connection::open(address).unwrap();
                let mut post = |half: &str| {
                    client.send("POST", &format!("/?pair={index}{half}"), &[], b"x").unwrap();
                    client.receive(false).unwrap().status
                };
                let first = post("a");
                // Swept around the timeout of the worker.
                let around = keep * 1_000 - 50_000 + (index * 100_000 / pairs) as u64;
                thread::sleep(Duration::from_micros(around));
                [first, post("b")]
            })
        };
        let clients: Vec<_> = (0..pairs).map(pair).collect();
        for client in clients {
            assert_eq!(client.join().unwrap(), [200, 200], "{keep_ms} {bare}");
        }
        let mut begun = noted(&cluster, "begun");
        assert_eq!(begun.len(), 2 * pairs);
        begun.sort_unstable();
        begun.dedup();
        assert_eq!(begun.len(), 2 * pairs, "none was run twice");
    }
}

#[test]
fn connections_of_clients_are_watched_by_the_kernel() {
    let cluster = Balancer::cluster(1).start_ready();
    let client = TcpStream::connect(cluster.address).unwrap();
    let port = client.local_addr().unwrap().port();
    // Timer 2 of a socket is the one of SO_KEEPALIVE (proc_net_tcp(5)).
    let deadline = Instant::now() + DEADLINE;
    loop {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let (own, peer) = (format!(":{:04X}", cluster.address.port()), format!(":{port:04X}"));
        let row = table.lines().find(|line| {
            let columns: Vec<_> = line.split_whitespace().collect();
            columns.get(1).is_some_and(|local| local.ends_with(&own))
                && columns.get(2).is_some_and(|remote| remote.ends_with(&peer))
        });
        let timer = row.and_then(|row| row.split_whitespace().nth(5)).unwrap_or_default();
        if timer.starts_with("02:") {
            break;
        }
        assert!(Instant::now() < deadline, "{row:?}");
        thread::yield_now();
    }
}
