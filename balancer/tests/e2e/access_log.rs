//! The access log, as its readers find it.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Balancer, Cluster, Connection, eventually};

fn logging(options: &[&str]) -> Cluster {
    Balancer::cluster(2).with(&["--access-log", "access.log"]).with(options).start_ready()
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// The lines in the cluster's log once there are so many.
fn logged(cluster: &Cluster, count: usize) -> Vec<String> {
    let path = cluster.directory().join("access.log");
    eventually("so many lines are written", || Some(lines(&path)).filter(|lines| lines.len() >= count))
}

#[test]
fn combined_lines_tell_who_asked_for_what_and_who_answered() {
    let cluster = logging(&[]);
    let headers =
        [("referer", "http://a.test/?b=c"), ("user-agent", "test \"agent\""), ("x-request-id", "my-id")];
    let answer = cluster.request("GET", "/cluster/info?x=y", &headers, b"");
    cluster.request("HEAD", "/health", &[("x-request-id", "own")], b"");
    let lines = logged(&cluster, 2);
    assert_eq!(lines.len(), 2, "{lines:#?}");
    let (before, rest) = lines[0].split_once(" [").unwrap();
    let (clock, rest) = rest.split_once("] ").unwrap();
    assert_eq!(before, "127.0.0.1 - -");
    assert!(clock.len() == "24/Nov/2026:14:12:37 +0000".len() && clock.ends_with(" +0000"), "{clock}");
    let expected = format!(
        "\"GET /cluster/info?x=y HTTP/1.1\" 200 {} \"http://a.test/?b=c\" \"test \\x22agent\\x22\" worker=1 \
         attempts=1 upstream=0.",
        answer.body.len()
    );
    assert!(rest.starts_with(&expected), "{rest}");
    assert!(rest.contains(" total=0.") && rest.ends_with(" id=my-id"), "{rest}");
    assert!(
        lines[1].contains("\"HEAD /health HTTP/1.1\" 200 ")
            && lines[1].contains("\"-\" \"-\" worker=0 attempts=0 upstream=- total=0.")
            && lines[1].ends_with(" id=own"),
        "{}",
        lines[1]
    );
    let mode = fs::metadata(cluster.directory().join("access.log")).unwrap().permissions().mode();
    assert_eq!(mode & 0o027, 0, "others do not read it: {mode:o}");
    assert_eq!(cluster.metric("access_log_dropped_lines_total"), 0);
}

#[test]
fn json_lines_are_objects_with_the_same() {
    let cluster = logging(&["--access-log-format", "json"]);
    let headers = [("user-agent", "a\"\\ b"), ("x-request-id", "my-id")];
    cluster.request("GET", "/cluster/info", &headers, b"");
    cluster.request("POST", "/nowhere", &[], b"some body");
    let lines: Vec<Value> =
        logged(&cluster, 2).iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let first = &lines[0];
    for (name, value) in [
        ("client", json!("127.0.0.1")),
        ("request", json!("GET /cluster/info HTTP/1.1")),
        ("status", json!(200)),
        ("referer", Value::Null),
        ("userAgent", json!("a\"\\ b")),
        ("worker", json!(1)),
        ("attempts", json!(1)),
        ("requestId", json!("my-id")),
    ] {
        assert_eq!(first[name], value, "{name} in {first}");
    }
    let seconds = |name: &str| first[name].as_f64().unwrap();
    assert!(
        seconds("upstreamSeconds") > 0.0 && seconds("totalSeconds") >= seconds("upstreamSeconds"),
        "{first}"
    );
    assert!(
        first["time"].as_str().unwrap().ends_with('Z') && first["bytes"].as_u64().unwrap() > 100,
        "{first}"
    );
    assert_eq!((&lines[1]["status"], &lines[1]["worker"]), (&json!(404), &json!(2)));
}

#[test]
fn nothing_that_a_client_sends_makes_a_line_or_a_field_of_its_own() {
    let evil = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nUser-Agent: x\" 200 1 \"-\" \\\"\r\n\
                Referer: \u{1F600}\t\u{85}\u{2028}y\r\nX-Request-Id: a b\" id=forged\r\n\r\n";
    for (format, options) in [("combined", &[][..]), ("json", &["--access-log-format", "json"])] {
        let cluster = logging(options);
        for raw in [
            evil,
            "GET /\"forged\n127.0.0.1 - - [now] \"GET / HTTP/1.1\" 200 1\r\n\r\n",
            "\x1b[2J\x7f\r\n\r\n",
        ] {
            let mut connection = Connection::open(cluster.address).unwrap();
            connection.write(raw.as_bytes()).unwrap();
            connection.receive(false).unwrap();
        }
        let lines = logged(&cluster, 3);
        assert_eq!(lines.len(), 3, "{format}: {lines:#?}");
        for line in &lines {
            assert!(!line.contains("id=forged") && !line.contains('\x1b'), "{line}");
            if format == "json" {
                let line: Value = serde_json::from_str(line).unwrap();
                assert_eq!(line.as_object().unwrap().len(), 12, "{line}");
            } else {
                assert_eq!(line.matches('"').count(), 6, "{line}");
                assert!(line.is_ascii() && line.bytes().all(|byte| !byte.is_ascii_control()), "{line}");
            }
        }
        // Each is written by the thread of its connection, in no order among them.
        let is_refused = |line: &String| line.contains(" 400 ") || line.contains("\"status\":400");
        assert!(lines.iter().any(is_refused), "{lines:#?}");
    }
}

#[test]
fn a_log_that_is_moved_away_is_begun_anew() {
    let mut cluster = logging(&[]);
    let path = cluster.directory().join("access.log");
    let before = cluster.worker_pids();
    let mut names = Vec::new();
    for (round, how) in ["SIGUSR1", "SIGHUP", "reload"].into_iter().enumerate() {
        cluster.get(&format!("/{how}"));
        logged(&cluster, 1);
        let moved = cluster.directory().join(format!("access.log.{round}"));
        fs::rename(&path, &moved).unwrap();
        match how {
            "SIGUSR1" => cluster.signal(Signal::USR1),
            "SIGHUP" => cluster.signal(Signal::HUP),
            _ => assert_eq!(cluster.operate(&["reload"]).0, 0),
        }
        eventually("there is a new file", || path.exists().then_some(()));
        if how == "SIGUSR1" {
            assert_eq!(cluster.worker_pids(), before, "that is all that happens");
        }
        if how == "SIGHUP" {
            eventually("the reload is done", || {
                let workers = cluster.admin("/cluster/workers").json();
                let done = workers["joining"].is_null() && workers["leaving"].is_null();
                (done && cluster.worker_pids().iter().all(|pid| !before.contains(pid))).then_some(())
            });
        }
        names.push((moved, how));
    }
    cluster.get("/last");
    cluster.signal(Signal::TERM);
    assert!(cluster.wait().success());
    for (file, how) in names {
        let lines = lines(&file);
        assert_eq!(lines.len(), 1, "{how}: {lines:#?}");
        assert!(lines[0].contains(&format!("\"GET /{how} HTTP/1.1\" 404 ")), "{lines:#?}");
    }
    let lines = lines(&path);
    assert!(lines.len() == 1 && lines[0].contains("GET /last"), "written before the end: {lines:#?}");
}

#[test]
#[ignore = "needs node: bash .ci/setup"]
fn clients_that_leave_and_requests_that_fail_are_logged_as_well() {
    let program = Balancer::program(2, &["--access-log", "access.log", "--access-log-format", "json"]);
    let cluster = program.start_ready();
    assert_eq!(cluster.request("POST", "/exit", &[], b"").status, 502);
    assert_eq!(cluster.get("/exit").status, 502, "asked twice, and both died");
    cluster.wait_ready();
    let mut leaver = Connection::open(cluster.address).unwrap();
    leaver.send("GET", "/slow?ms=5000", &[], b"").unwrap();
    eventually("a worker has it", || {
        cluster.workers().iter().any(|worker| worker["inFlight"] == 1).then_some(())
    });
    leaver.reset();
    let lines: Vec<Value> =
        logged(&cluster, 3).iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let said = |line: &Value| (line["status"].as_u64(), line["bytes"].as_u64() > Some(0));
    assert_eq!(
        (said(&lines[0]), lines[0]["attempts"].as_u64()),
        ((Some(502), true), Some(1)),
        "{}",
        lines[0]
    );
    assert_eq!((lines[1]["status"].as_u64(), lines[1]["attempts"].as_u64() > Some(1)), (Some(502), true));
    // Its first worker may still be one that has ended.
    assert_eq!(said(&lines[2]), (Some(499), false), "{}", lines[2]);
    assert!(lines[2]["worker"] != 0 && lines[2]["upstreamSeconds"].as_f64() > Some(0.0), "{}", lines[2]);
}

#[test]
fn standard_output_is_a_log_as_well() {
    let mut cluster = Balancer::cluster(1).env("CLUSTER_ACCESS_LOG", "-").start_ready();
    let mut stdout = cluster.stdout();
    (0..5).for_each(|_| assert_eq!(cluster.get("/cluster/info").status, 200));
    cluster.signal(Signal::TERM);
    assert!(cluster.wait().success());
    let mut text = String::new();
    stdout.read_to_string(&mut text).unwrap();
    assert_eq!(text.lines().filter(|line| line.contains("GET /cluster/info")).count(), 5, "{text}");
}

#[test]
fn a_reader_that_sleeps_holds_up_nobody() {
    let cluster = Balancer::cluster(1).with(&["--access-log", "-"]).start_ready();
    // Each line is longer than 4 KiB, the pipe takes 64 KiB, and the queue is bounded.
    let agent = "x".repeat(4096);
    let mut client = Connection::open(cluster.address).unwrap();
    eventually("lines are dropped", || {
        for _ in 0..500 {
            client.send("GET", "/health", &[("user-agent", &agent)], b"").unwrap();
            assert_eq!(client.receive(false).unwrap().status, 200);
        }
        (cluster.metric("access_log_dropped_lines_total") > 0).then_some(())
    });
}

#[test]
fn a_log_that_cannot_be_opened_is_refused() {
    for place in ["missing/access.log", "."] {
        let (code, text) = Balancer::cluster(1).with(&["--access-log", place]).output();
        assert_eq!((code, text.trim().lines().count()), (1, 1), "{text}");
        assert!(text.contains(&format!("could not open the access log {place}")), "{text}");
        assert!(text.contains("--access-log"), "{text}");
    }
}

#[test]
fn behind_a_trusted_proxy_the_client_is_the_one_that_it_names() {
    let cluster = logging(&["--trust-forwarded", "--access-log-format", "json"]);
    let cases = [
        // What stands before the last one may be invented.
        (&[("x-forwarded-for", "6.6.6.6, 192.0.2.9")][..], "192.0.2.9"),
        (&[("x-forwarded-for", "6.6.6.6"), ("X-Forwarded-For", "192.0.2.8")], "192.0.2.8"),
        (&[("x-forwarded-for", "192.0.2.7"), ("x-forwarded-for", "")], "192.0.2.7"),
        (&[("x-forwarded-for", "")], "127.0.0.1"),
    ];
    for (index, (fields, client)) in cases.into_iter().enumerate() {
        cluster.request("GET", "/cluster/info", fields, b"");
        let lines = logged(&cluster, index + 1);
        let line: Value = serde_json::from_str(&lines[index]).unwrap();
        assert_eq!(line["client"], client, "{fields:?}");
    }
}
