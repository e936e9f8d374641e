//! The delay of a shutdown: health says that the cluster goes away, and everything else goes
//! on as before.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{Balancer, Cluster, Connection, eventually, is_alive};

/// Tells the cluster to stop; returns once health says that it does.
fn begin(cluster: &Cluster) {
    cluster.signal(Signal::TERM);
    eventually("health says so", || (cluster.admin("/health").status == 503).then_some(()));
}

/// A second signal, which counts once a second has passed since the first.
fn end_early(cluster: &mut Cluster) {
    eventually("a second signal ends the delay", || {
        cluster.signal(Signal::TERM);
        cluster.log().iter().any(|line| line.contains("the shutdown delay is over")).then_some(())
    });
    assert_eq!(cluster.wait().code(), Some(0), "only the delay is skipped");
}

#[test]
fn a_cluster_serves_on_for_the_delay_and_says_that_it_will_not_for_long() {
    let mut cluster = Balancer::cluster(2).with(&["--shutdown-delay", "60s"]).start_ready();
    let mut kept = Connection::open(cluster.address).unwrap();
    let mut ask = |path: &str| {
        kept.send("GET", path, &[], b"").unwrap();
        let answer = kept.receive(false).unwrap();
        (answer.status, answer.header("connection").map(str::to_owned))
    };
    assert_eq!(ask("/cluster/info"), (200, None));
    begin(&cluster);
    assert_eq!(ask("/health"), (503, None), "the connection of whoever probes is kept as well");
    assert_eq!(ask("/cluster/info"), (200, None));
    assert_eq!((cluster.get("/cluster/info").status, cluster.get("/health").status), (200, 503));

    let (_, shown, _) = cluster.operate(&["status"]);
    assert!(shown.contains("shutting down: serves for"), "{shown}");
    let (_, shown, _) = cluster.operate(&["status", "--json"]);
    assert!(shown.contains("\"phase\": \"delay\"") && shown.contains("\"secondsLeft\""), "{shown}");
    for change in [&["reload"][..], &["scale", "3"]] {
        let (code, _, err) = cluster.operate(change);
        assert!(code == 1 && err.contains("the cluster is stopping"), "{change:?}: {err}");
    }
    let killed = cluster.worker_pids()[0];
    crate::harness::send_signal(killed, Signal::KILL);
    eventually("a worker that dies is replaced", || {
        (!cluster.worker_pids().contains(&killed) && cluster.worker_pids().len() == 2).then_some(())
    });
    assert!(cluster.log().iter().any(|line| line.contains("shutting down in 1m: /health says 503")));
    assert!(cluster.admin("/events").text().contains("shutting down in 1m because of SIGTERM"));
    end_early(&mut cluster);
    assert!(TcpStream::connect(cluster.address).is_err());
}

#[test]
fn the_delay_ends_by_itself_and_does_not_count_for_the_stop_timeout() {
    let options = ["--shutdown-delay", "1s", "--stop-timeout", "1s"];
    let mut cluster = Balancer::cluster(1).with(&options).start_ready();
    let workers = cluster.worker_pids();
    let mut slow = Connection::open(cluster.address).unwrap();
    let body = br#"{"n":45}"#;
    slow.send("POST", "/cluster/cpu-intensive", &[("content-type", "application/json")], body).unwrap();
    eventually("it is with the worker", || (cluster.workers()[0]["inFlight"] == 1).then_some(()));
    let start = Instant::now();
    cluster.signal(Signal::TERM);
    assert_eq!(cluster.wait().code(), Some(0));
    assert!(start.elapsed() >= Duration::from_secs(2), "{:?}", start.elapsed());
    assert!(cluster.log().iter().any(|line| line.contains("stop timeout reached")));
    eventually("no worker is left", || workers.iter().all(|&pid| !is_alive(pid)).then_some(()));
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn what_balancers_in_front_ask_of_a_program_is_answered_in_its_place() {
    let options = ["--shutdown-delay", "60s", "--health-path", "/mode"];
    let mut cluster = Balancer::program(1, &options).start_ready();
    assert_eq!((cluster.get("/mode").text(), cluster.get("/mode?a=1").status), ("ok".to_owned(), 200));
    begin(&cluster);
    for method in ["GET", "HEAD", "OPTIONS"] {
        assert_eq!(cluster.request(method, "/mode", &[], b"").status, 503, "{method}");
    }
    assert_eq!((cluster.get("/mode?a=1").status, cluster.get("/mode/").status), (503, 404));
    assert_eq!(cluster.request("POST", "/mode", &[], b"x").status, 200, "that is no probe");
    assert_eq!(cluster.get("/pid").status, 200);
    assert_eq!(cluster.get("/health").status, 404, "it is the program's, which has none");
    end_early(&mut cluster);
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn visitors_of_the_front_page_are_served_although_it_is_what_is_probed() {
    let options = ["--shutdown-delay", "60s", "--health-path", "/"];
    let mut cluster = Balancer::program(1, &options).start_ready();
    let said = "--shutdown-delay is seen in the answer of the admin listener's /health only";
    assert!(cluster.log().iter().any(|line| line.contains(said)), "{:?}", cluster.log());
    begin(&cluster);
    assert_eq!(cluster.get("/").status, 404, "the program's own answer");
    end_early(&mut cluster);
}
