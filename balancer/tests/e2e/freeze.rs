//! Time in which the balancer does not run, as when it is stopped, its container paused or
//! its machine suspended: no deadline passes by that.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::harness::{Cluster, Connection, DEADLINE, eventually, send_signal};
use crate::peers::{in_flight, noted, peers, statuses};
use shared_testkit::connection::{read_all, status};

/// Longer than the timeouts of these tests.
const FREEZE: Duration = Duration::from_secs(3);

/// Stops these processes, and has `meanwhile` done before they go on.
fn freeze(pids: &[u32], meanwhile: impl FnOnce()) {
    pids.iter().for_each(|&pid| send_signal(pid, Signal::STOP));
    meanwhile();
    // Nobody can be asked whether it has been long enough.
    thread::sleep(FREEZE);
    pids.iter().for_each(|&pid| send_signal(pid, Signal::CONT));
}

/// `count` clients that each ask for an answer which takes `ms` milliseconds.
fn ask(cluster: &Cluster, count: usize, ms: u64) -> Vec<thread::JoinHandle<u16>> {
    let ask = |_| {
        let address = cluster.address;
        thread::spawn(move || {
            let mut client = Connection::open(address).unwrap();
            client.send("GET", &format!("/slow?ms={ms}"), &[], b"").unwrap();
            client.receive(false).map_or(0, |answer| answer.status)
        })
    };
    (0..count).map(ask).collect()
}

fn answers(clients: Vec<thread::JoinHandle<u16>>) -> Vec<u16> {
    clients.into_iter().map(|client| client.join().unwrap()).collect()
}

fn group(cluster: &Cluster) -> Vec<u32> {
    [&cluster.worker_pids()[..], &[cluster.pid()]].concat()
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn requests_in_hand_are_answered_after_a_freeze() {
    let cluster = peers(2, &["--response-timeout", "1s", "--kill-timeout", "1s"]).start_ready();
    let (workers, group) = (cluster.worker_pids(), group(&cluster));
    for pids in [&[cluster.pid()], &group[..]] {
        let clients = ask(&cluster, 20, 600);
        eventually("all are in hand", || (in_flight(&cluster) == 20).then_some(()));
        freeze(pids, || {});
        assert_eq!(answers(clients), [200; 20]);
    }
    assert_eq!(cluster.worker_pids(), workers);
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn a_second_freeze_does_not_count_either() {
    let cluster = peers(1, &["--response-timeout", "3s"]).start_ready();
    let clients = ask(&cluster, 5, 7_000);
    eventually("all are in hand", || (in_flight(&cluster) == 5).then_some(()));
    for _ in 0..2 {
        freeze(&[cluster.pid()], || {});
        assert_eq!(in_flight(&cluster), 5, "it runs, and none was given up");
    }
    assert_eq!(answers(clients), [200; 5]);
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn requests_in_the_queue_keep_their_place() {
    let options = ["--max-concurrency", "1", "--queue-timeout", "1s"];
    let cluster = peers(1, &options).start_ready();
    let group = group(&cluster);
    let clients = ask(&cluster, 2, 400);
    eventually("one waits", || (cluster.metric("requests_queued") == 1).then_some(()));
    freeze(&group, || {});
    assert_eq!(answers(clients), [200; 2]);
}

const POST: &str = "POST /body HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 9\r\n\r\n";

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn what_clients_sent_meanwhile_has_come_in_time() {
    let second = ["--head-timeout", "--idle-timeout", "--client-timeout", "--body-timeout"];
    let options: Vec<_> = second.iter().flat_map(|option| [*option, "1s"]).collect();
    let cluster = peers(1, &options).env("KEEP_MS", "1000").start_ready();
    let open = |part: &str| {
        let mut client = TcpStream::connect(cluster.address).unwrap();
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        client.write_all(part.as_bytes()).unwrap();
        client
    };
    let mut kept = Connection::open(cluster.address).unwrap();
    kept.send("POST", "/first", &[], b"x").unwrap();
    assert_eq!(kept.receive(false).unwrap().status, 200);
    let (head, rest) = POST.split_at(30);
    let mut slow_head = open(head);
    let mut slow_body = open(&format!("{POST}123"));
    let mut slower_body = open(&format!("{POST}123"));
    freeze(&[cluster.pid()], || {
        // Its upstream connection is about to be closed by the worker.
        kept.send("POST", "/second", &[], b"x").unwrap();
        write!(slow_head, "{rest}123456789").unwrap();
        slow_body.write_all(b"456789").unwrap();
        slower_body.write_all(b"456").unwrap();
    });
    assert_eq!(kept.receive(false).unwrap().status, 200);
    assert_eq!(status(&read_all(slow_head)), 200);
    assert_eq!(status(&read_all(slow_body)), 200);
    // The balancer has taken what there was of this one as well, and waits for the rest.
    slower_body.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(slower_body.read(&mut [0]).is_err(), "it is not refused");
    slower_body.write_all(b"789").unwrap();
    slower_body.set_read_timeout(Some(DEADLINE)).unwrap();
    assert_eq!(status(&read_all(slower_body)), 200);
    assert_eq!(noted(&cluster, "begun").len(), 5, "none was run twice");
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn a_tunnel_that_closes_has_its_time() {
    let cluster = peers(1, &["--client-timeout", "1s"]).start_ready();
    let group = group(&cluster);
    let mut client = TcpStream::connect(cluster.address).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    client
        .write_all(b"GET /up?last=500 HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\n")
        .unwrap();
    assert!(client.read(&mut [0; 1024]).unwrap() > 0, "the upgrade is complete");
    client.shutdown(Shutdown::Write).unwrap();
    eventually("the worker knows that it closes", || (noted(&cluster, "ended").len() == 1).then_some(()));
    freeze(&group, || {});
    let answer = read_all(client);
    assert!(answer.ends_with("last words"), "{answer}");
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn nothing_is_repeated_for_a_client_that_left_meanwhile() {
    let cluster = peers(2, &[]).start_ready();
    let mut client = Connection::open(cluster.address).unwrap();
    client.send("GET", "/slow?ms=60000", &[], b"").unwrap();
    eventually("a worker has it", || (noted(&cluster, "begun").len() == 1).then_some(()));
    let busy = |worker: &serde_json::Value| worker["inFlight"] == 1;
    let pid = eventually("it is in flight", || cluster.workers().into_iter().find(busy));
    freeze(&[cluster.pid()], || {
        drop(client);
        send_signal(pid["pid"].as_u64().unwrap() as u32, Signal::KILL);
    });
    eventually("it is given up", || (statuses(&cluster) == [499]).then_some(()));
    assert_eq!(noted(&cluster, "begun").len(), 1);
}
