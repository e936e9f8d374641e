//! The worker as `deploy/kubernetes` runs it: with the manifest's variables,
//! probes and signals.

use std::net::TcpStream;
use std::time::Duration;

use rustix::process::Signal;

use crate::http::{FromWorker, connect, get};
use crate::process::Worker;
use shared_testkit::redis_server::RedisServer;

const MANIFEST: &str = include_str!("../../../deploy/kubernetes/base/deployment.yaml");
const POD: &str = "cluster-worker-7d9f8c6b5-x2x4q";

/// What follows `key: ` wherever that stands in the manifest.
fn values(key: &str) -> Vec<&'static str> {
    let value =
        |line: &'static str| line.trim().trim_start_matches("- ").strip_prefix(key)?.strip_prefix(": ");
    MANIFEST.lines().filter_map(value).map(|value| value.trim_matches('"')).collect()
}

fn seconds(text: &str) -> u64 {
    text.trim_end_matches('s').parse().unwrap_or_else(|_| panic!("{text:?} is no number of seconds"))
}

/// The container's environment; what the cluster fills in is from here.
fn environment(redis: &RedisServer) -> Vec<(&'static str, String)> {
    let names = MANIFEST.lines().enumerate().filter_map(|(at, line)| {
        let name = line.trim().strip_prefix("- name: ")?;
        name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_').then_some((at, name))
    });
    names
        .map(|(at, name)| {
            let value = MANIFEST.lines().nth(at + 1).unwrap().trim().strip_prefix("value: ");
            let value = match (name, value) {
                ("POD_NAME", None) => POD.to_owned(),
                ("REDIS_URL", None) => redis.url(),
                (_, Some(value)) => value.trim_matches('"').to_owned(),
                (name, None) => panic!("{name} has no value"),
            };
            (name, value)
        })
        .collect()
}

#[test]
#[ignore = "needs redis-server: bash .ci/setup"]
fn it_starts_is_probed_and_drains_as_the_manifest_says() {
    let redis = RedisServer::start();
    let environment = environment(&redis);
    let of = |name: &str| environment.iter().find(|(found, _)| *found == name).unwrap().1.as_str();
    assert_eq!(values("command")[0], "[worker]");
    assert_eq!(values("containerPort"), [of("PORT")]);
    let variables: Vec<_> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    // Its flags give it a free port and a log that this test can read.
    let mut worker = Worker::start_with(&[], &variables);

    assert_eq!(values("path"), ["/health"], "all probes are the same");
    let health = get(worker.port, values("path")[0]).ok();
    assert_eq!(health["worker"]["name"], POD);
    assert_eq!(health["store"]["backend"], "redis");

    let mut slow: Vec<_> = (0..4).map(|_| connect(worker.port)).collect();
    for connection in &mut slow {
        connection
            .send("POST", "/cluster/cpu-intensive", &[("content-type", "application/json")], b"{\"n\": 38}")
            .unwrap();
    }
    get(worker.port, "/cluster/info").ok();
    worker.signal(Signal::TERM);
    worker.wait_for_log("stopping");
    for connection in &mut slow {
        assert_eq!(connection.receive(false).unwrap().ok()["calculation"]["result"], 39_088_169);
    }
    let (status, took) = worker.wait();
    assert_eq!(status.code(), Some(0));
    assert!(took < Duration::from_secs(1), "it took {took:?} after the last answer");
    assert!(TcpStream::connect(("127.0.0.1", worker.port)).is_err());
}

#[test]
fn there_is_time_for_what_stopping_takes() {
    let before = MANIFEST.lines().find_map(|line| line.trim().strip_prefix("command: [sleep, "));
    let before = seconds(before.unwrap().trim_matches(['"', ']']));
    let drain =
        MANIFEST.lines().skip_while(|line| !line.ends_with("name: CLUSTER_DRAIN_TIMEOUT")).nth(1).unwrap();
    let drain = seconds(drain.trim().strip_prefix("value: ").unwrap());
    let grace = seconds(values("terminationGracePeriodSeconds")[0]);
    assert!(grace > before + drain, "{grace} s are not more than {before} s and {drain} s");
}
