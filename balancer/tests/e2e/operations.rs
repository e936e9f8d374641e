//! What operators use: subcommands, admin listener, service manager, process 1.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Balancer, Cluster, Connection, DEADLINE, eventually, is_alive};

/// One request to the admin listener under the name `host`.
fn ask(cluster: &Cluster, method: &str, path: &str, host: &str) -> crate::harness::Answer {
    let mut connection = Connection::open(cluster.admin.unwrap()).unwrap();
    connection.send_as(method, path, &[("host", host), ("connection", "close")], b"").unwrap();
    connection.receive(method == "HEAD").unwrap()
}

#[test]
fn status_shows_the_workers_to_people_and_to_programs() {
    let cluster = Balancer::cluster(2).start_ready();
    let (code, table, _) = cluster.operate(&["status"]);
    assert_eq!(code, 0);
    assert!(table.starts_with(&format!("ok on http://{}  2/2 workers online", cluster.address)), "{table}");
    for pid in cluster.worker_pids() {
        assert!(table.contains(&pid.to_string()), "{table}");
    }
    assert!(!table.contains('\x1b'), "no colours into a pipe");
    let (code, json, _) = cluster.operate(&["status", "--json"]);
    assert_eq!(code, 0);
    let status: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(status["address"], cluster.address.to_string());
    assert_eq!(status["health"]["status"], "ok");
    assert_eq!(status["primary"]["pid"], cluster.pid());
    assert_eq!(status["workers"].as_array().unwrap().len(), 2);
}

#[test]
fn the_control_socket_is_for_its_owner_only() {
    let cluster = Balancer::cluster(1).start_ready();
    let mode = std::fs::metadata(&cluster.control).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn stop_ends_the_cluster_and_waits_for_that() {
    let mut cluster = Balancer::cluster(2).start_ready();
    let pids = cluster.worker_pids();
    let (code, out, err) = cluster.operate(&["stop"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.ends_with("stopped\n"), "{out}");
    assert!(pids.iter().all(|&pid| !is_alive(pid)));
    assert!(cluster.wait().success());
    let (code, _, err) = cluster.operate(&["status"]);
    assert_eq!(code, 1);
    assert!(err.contains("no cluster listens on") && err.contains("is it running?"), "{err}");
}

#[test]
fn the_admin_listener_reads_and_changes_nothing() {
    let cluster = Balancer::cluster(2).start_ready();
    assert_eq!(ask(&cluster, "GET", "/health", "localhost").json()["status"], "ok");
    let list = ask(&cluster, "GET", "/cluster/workers", "127.0.0.1:1").json();
    assert_eq!(list["count"], 2);
    assert_eq!(ask(&cluster, "HEAD", "/metrics", "[::1]").status, 200);
    for path in ["/health", "/cluster/workers", "/metrics", "/events", "/", "/dashboard.js"] {
        let answer = ask(&cluster, "POST", path, "localhost");
        assert_eq!(answer.header("allow"), Some("GET, HEAD"));
        answer.problem(405);
    }
    assert_eq!(ask(&cluster, "POST", "/events/stream", "localhost").header("allow"), Some("GET"));
    for path in ["/reload", "/scale", "/stop", "/status", "/cluster/info"] {
        ask(&cluster, "POST", path, "localhost").problem(404);
    }
    ask(&cluster, "GET", "/health", "evil.example").problem(421);
    let mut nameless = Connection::open(cluster.admin.unwrap()).unwrap();
    nameless.write(b"GET /health HTTP/1.0\r\n\r\n").unwrap();
    nameless.receive(false).unwrap().problem(421);
}

#[test]
fn the_dashboard_comes_with_a_strict_policy_and_is_fed() {
    let cluster = Balancer::cluster(2).start_ready();
    for (path, kind) in
        [("/", "text/html"), ("/workers.js", "text/javascript"), ("/dashboard.css", "text/css")]
    {
        let answer = ask(&cluster, "GET", path, "localhost");
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.header("content-type").unwrap().starts_with(kind), "{path}");
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    }
    let events = ask(&cluster, "GET", "/events", "localhost").json();
    assert_eq!(events.as_array().unwrap().iter().filter(|event| event["kind"] == "ready").count(), 2);
    ask(&cluster, "GET", "/events/stream", "evil.example").problem(421);

    let mut page = std::net::TcpStream::connect(cluster.admin.unwrap()).unwrap();
    page.set_read_timeout(Some(DEADLINE)).unwrap();
    page.write_all(b"GET /events/stream HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut lines = BufReader::new(page).lines().map_while(Result::ok);
    let mut wait_for = |text: &str| assert!(lines.any(|line| line.contains(text)), "{text}");
    wait_for("Content-Type: text/event-stream");
    wait_for("event: history");
    wait_for("event: now");
    wait_for("\"desired\":2");
    assert_eq!(cluster.operate(&["reload"]).0, 0);
    wait_for("reload begins");
    wait_for("reload done");
}

#[test]
fn names_for_the_admin_listener_can_be_added() {
    let cluster = Balancer::cluster(1).env("CLUSTER_ADMIN_HOSTS", "balancer, metrics.example").start_ready();
    assert_eq!(ask(&cluster, "GET", "/health", "metrics.example:3180").status, 200);
    ask(&cluster, "GET", "/health", "other.example").problem(421);
}

#[test]
fn the_admin_listener_can_be_switched_off_or_be_in_the_way() {
    let cluster = Balancer::cluster(1).with(&["--admin", "off"]).start_ready();
    assert_eq!(cluster.admin, None);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, text) = Balancer::cluster(1).with(&["--admin", &address]).output();
    assert_eq!(code, 1);
    assert!(text.contains(&address) && text.contains("--admin"), "{text}");
    let (code, text) = Balancer::cluster(1).with(&["--admin", "nowhere"]).output();
    assert_eq!(code, 2);
    assert!(text.contains("--admin") && text.contains("127.0.0.1:3180"), "{text}");
}

#[test]
fn metrics_count_every_request_at_its_worker() {
    let cluster = Balancer::cluster(2).start_ready();
    (0..10).for_each(|_| assert_eq!(cluster.get("/cluster/info").status, 200));
    assert_eq!(cluster.get("/nowhere").status, 404);
    assert_eq!(cluster.get("/health").status, 200);
    let pid = cluster.worker_pids()[1];
    crate::harness::send_signal(pid, Signal::KILL);
    let has = |lines: &[&str]| {
        let answer = ask(&cluster, "GET", "/metrics", "localhost");
        assert!(answer.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
        let text = answer.text();
        lines.iter().all(|line| text.lines().any(|found| found == *line)).then_some(())
    };
    eventually("what happened is counted", || {
        has(&[
            "balancer_up 1",
            "balancer_workers_desired 2",
            "balancer_workers_online 2",
            "balancer_requests_total{worker=\"0\",status=\"200\"} 1",
            "balancer_requests_total{worker=\"1\",status=\"200\"} 5",
            "balancer_requests_total{worker=\"1\",status=\"404\"} 1",
            "balancer_requests_total{worker=\"2\",status=\"200\"} 5",
            "balancer_request_duration_seconds_count{worker=\"1\"} 6",
            "balancer_request_duration_seconds_bucket{le=\"+Inf\",worker=\"1\"} 6",
            "balancer_worker_state{worker=\"2\",state=\"online\"} 1",
            "balancer_worker_replacements_total{worker=\"2\",reason=\"crash\"} 1",
            "balancer_reloads_total{outcome=\"done\"} 0",
        ])
    });
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn a_service_manager_is_told_how_it_goes() {
    let balancer = Balancer::program(1, &[]);
    let path = balancer.directory().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let next = |wanted: &str| {
        let mut buffer = [0; 1024];
        loop {
            let length = socket.recv(&mut buffer).unwrap();
            let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if message.lines().any(|line| line == wanted) {
                return message;
            }
            assert!(message.starts_with("WATCHDOG=1"), "expected {wanted}, got {message}");
        }
    };
    let name = path.to_str().unwrap().to_owned();
    let mut cluster = balancer.env("NOTIFY_SOCKET", &name).env("WATCHDOG_USEC", "200000").start_ready();
    assert!(next("READY=1").contains("STATUS=1 of 1 workers online"));
    next("WATCHDOG=1");
    let environment = cluster.get("/env").json();
    assert!(environment["NOTIFY_SOCKET"].is_null() && environment["WATCHDOG_USEC"].is_null());
    cluster.signal(Signal::HUP);
    assert!(next("RELOADING=1").contains("MONOTONIC_USEC="));
    next("READY=1");
    cluster.signal(Signal::TERM);
    next("STOPPING=1");
    assert!(cluster.wait().success());
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn as_process_1_it_reaps_what_it_inherits_and_ends_in_order() {
    // Without the privilege to make a process namespace, a user namespace gives it.
    let privileged = Command::new("unshare").args(["--pid", "--fork", "true"]).status().unwrap().success();
    let user: &[_] = if privileged { &[] } else { &["--user", "--map-root-user"] };
    let namespace = [user, &["--pid", "--fork", "--kill-child", "--mount-proc"]].concat();
    let cluster = Balancer::program(1, &[]).run_below("unshare", &namespace);
    let mut cluster = cluster.start_ready();
    // Below unshare the balancer is its only child.
    let children = format!("/proc/{0}/task/{0}/children", cluster.pid());
    let balancer: u32 = std::fs::read_to_string(children).unwrap().trim().parse().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{balancer}/status")).unwrap();
    let inner =
        status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap().split_whitespace().last();
    assert_eq!(inner, Some("1"), "it is process 1");
    assert_eq!(cluster.get("/orphans?n=1000").text(), "0", "exit codes are right");
    // Entering the namespace leaves orphans to process 1 itself.
    let leave = "for i in 1 2 3 4 5; do (sleep 0.05 &) ; done";
    let user: &[_] = if privileged { &[] } else { &["--user", "--preserve-credentials"] };
    let entered = Command::new("nsenter")
        .args(["--target", &balancer.to_string(), "--pid", "--mount"])
        .args(user)
        .args(["sh", "-c", leave])
        .status();
    assert!(entered.unwrap().success());
    eventually("no zombie is left", || {
        let zombies = procs_below(balancer).into_iter().filter(|&(_, zombie)| zombie).count();
        (zombies == 0).then_some(())
    });
    let workers: Vec<u32> = procs_below(balancer).into_iter().map(|(pid, _)| pid).collect();
    crate::harness::send_signal(balancer, Signal::TERM);
    assert!(cluster.wait().success());
    assert!(workers.iter().all(|&pid| !is_alive(pid)), "{workers:?}");
}

/// All processes below `root`, and whether they are zombies.
fn procs_below(root: u32) -> Vec<(u32, bool)> {
    let mut found = vec![(root, false)];
    let mut next = 0;
    while next < found.len() {
        let pid = found[next].0;
        let children =
            std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        found.extend(children.split_whitespace().map(|pid| {
            let pid = pid.parse().unwrap();
            (pid, !is_alive(pid))
        }));
        next += 1;
    }
    found.split_off(1)
}
