//! What a user sees first: the report, the balance, the exit codes.

use std::time::{Duration, Instant};

use crate::program::{Program, connections, run, run_args};
use shared_testkit::server::{Server, answer, ok, worker_answer};

#[test]
fn the_default_run_sends_100_requests_and_reports() {
    let server = Server::round_robin(4);
    let output = run(&server.url());
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert_eq!((server.requests(), connections(&server)), (100, 100));
    for part in [
        "closed loop, 100 connections",
        "avg",
        "min",
        "max",
        "p50",
        "p95",
        "p99",
        "(of 100 values)",
        "requests/s",
        "Worker distribution",
        "25.0 % ████",
        "Balance analysis",
        "Well balanced",
        "round-robin",
    ] {
        assert!(output.stdout.contains(part), "{part:?} is not in\n{}", output.stdout);
    }
    // No colours and no progress line where no terminal is.
    assert!(!output.stdout.contains('\u{1b}') && output.stderr.is_empty(), "{:?}", output.stderr);
}

#[test]
fn requests_and_connections_are_as_many_as_wanted() {
    let server = Server::round_robin(2);
    let report = run(&format!("-n 1003 -c 7 -t 3 --json {}", server.url())).json();
    assert_eq!((server.requests(), connections(&server)), (1003, 7));
    assert_eq!(report["outcome"]["answered"], 1003);
    assert_eq!(report["outcome"]["failed"], 0);
    assert_eq!(report["serviceTime"]["count"], 1003);
    assert_eq!(report["connectTime"]["count"], 7);
}

#[test]
fn a_skewed_cluster_is_called_skewed() {
    let server = Server::answering(|request| {
        worker_answer(if request.number % 10 < 7 { 3 } else { request.number % 3 + 1 })
    });
    let output = run(&format!("-n 1000 -c 10 {}", server.url()));
    assert!(output.stdout.contains("Not balanced: worker 3 has"), "{}", output.stdout);
    assert!(output.stdout.contains("skewed"), "{}", output.stdout);
}

#[test]
fn connections_that_stay_with_one_worker_are_judged_as_connections() {
    let server = Server::start(|mut connection| {
        let id = connection.number % 4 + 1;
        while connection.read().is_some() {
            connection.write(&worker_answer(id));
        }
    });
    let report = run(&format!("-n 800 -c 40 -t 1 --json {}", server.url())).json();
    let connections = &report["balance"]["connections"];
    assert_eq!(connections["total"], 40);
    assert_eq!(connections["maxOverMin"], 1.0);
    let text = report["balance"]["analysis"].as_str().unwrap();
    assert!(text.contains("Every connection stayed with one worker"), "{text}");
    let mixed = Server::round_robin(4);
    let mixed = run(&format!("-n 800 -c 40 --json {}", mixed.url())).json();
    assert!(mixed["balance"].get("connections").is_none());
}

#[test]
fn workers_are_found_in_json_bodies() {
    let server =
        Server::answering(|request| ok(&format!("{{\"from\":{{\"names\":[\"w{}\"]}}}}", request.number % 2)));
    let report = run(&format!("-n 20 -c 2 --worker-json from.names.0 --json {}", server.url())).json();
    let ids: Vec<_> = report["workers"].as_array().unwrap().iter().map(|row| row["id"].clone()).collect();
    assert_eq!(ids, ["w0", "w1"]);
    let missing = run(&format!("-n 5 -c 1 --worker-json nobody --json {}", server.url()));
    assert_eq!((missing.code, missing.json()["errors"][0]["class"].as_str()), (1, Some("wrong-body")));
    let unnamed = run(&format!("-n 5 {}", server.url()));
    assert!(unnamed.stdout.contains("no response names its worker"), "{}", unnamed.stdout);
}

#[test]
fn a_mix_has_its_weights_methods_and_bodies() {
    let server = Server::answering(|request| {
        let post = request.head.starts_with("POST /b ") && request.body == b"{\"n\": 1}";
        ok(if post {
            "post"
        } else if request.head.starts_with("GET /a ") {
            "get"
        } else {
            "?"
        })
    });
    let url = server.url();
    let args = ["-n", "2000", "-c", "4", "--mix", "3 /a", "--mix", "1 POST /b {\"n\": 1}", "--json", &url];
    let report = run_args(&args).json();
    let counts: Vec<u64> = [0, 1].map(|row: usize| report["mix"][row]["answered"].as_u64().unwrap()).to_vec();
    assert_eq!(counts.iter().sum::<u64>(), 2000);
    // 1500 expected, with a standard deviation of 19.
    assert!((1400..1600).contains(&counts[0]), "{counts:?}");
    let checked = run_args(&["-n", "10", "--mix", "1 /a", "--expect-body", "get", &url]);
    assert_eq!(checked.code, 0, "{}", checked.stdout);
}

#[test]
fn methods_headers_and_bodies_are_those_given() {
    let server = Server::answering(|request| {
        let lines: Vec<_> = request.head.lines().collect();
        let right =
            lines[0] == "PATCH / HTTP/1.1" && lines.contains(&"x-a: b") && request.body == b"from a file";
        answer(if right { "200 OK" } else { "400 Bad Request" }, "", "")
    });
    let directory = tempfile::tempdir().unwrap();
    let body = directory.path().join("body");
    std::fs::write(&body, "from a file").unwrap();
    let body = body.display().to_string();
    let args = ["-n", "5", "-m", "patch", "-H", "X-A: b", "--body-file", &body, "--json"];
    let report = run_args(&[&args[..], &[&server.url()]].concat()).json();
    assert_eq!(report["outcome"]["succeeded"], 5, "{}", report["errors"]);
}

#[test]
fn a_head_request_waits_for_no_body() {
    let server = Server::start(|mut connection| {
        while connection.read().is_some() {
            connection.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n");
        }
    });
    let report = run(&format!("-n 20 -c 2 -m HEAD --json {}", server.url())).json();
    assert_eq!((report["outcome"]["succeeded"].as_u64(), connections(&server)), (Some(20), 2));
}

#[test]
fn exit_codes_and_messages_tell_what_to_do() {
    let nobody = run("http://127.0.0.1:1/");
    assert_eq!(nobody.code, 1);
    assert_eq!(nobody.stderr.lines().count(), 1, "{}", nobody.stderr);
    assert!(nobody.stderr.contains("127.0.0.1:1: connection refused"), "{}", nobody.stderr);
    for (args, part) in [
        ("ftp://x/", "a right one is http://127.0.0.1:3100/cluster/info"),
        ("--threshold p99=5 http://127.0.0.1:1/", "right ones are 'p99<20ms'"),
        ("--find-max fast http://127.0.0.1:1/", "right ones are 'p99<20ms'"),
        ("-d never http://127.0.0.1:1/", "-d 10s"),
        ("--no-such-flag", "--no-such-flag"),
    ] {
        let output = run(args);
        assert_eq!(output.code, 2, "{args}: {}", output.stderr);
        assert!(output.stderr.contains(part), "{args}: {}", output.stderr);
    }
    let help = run("--help");
    assert_eq!(help.code, 0);
    assert!(help.stdout.contains("Examples:") && help.stdout.contains("--find-max"));
}

#[test]
fn thresholds_decide_the_exit_code() {
    let server = Server::round_robin(2);
    let url = server.url();
    let kept = run(&format!("-n 50 --threshold p99<30s,errors<1% --threshold cv<0.5 {url}"));
    assert_eq!(kept.code, 0, "{}", kept.stdout);
    let missed = run(&format!("-n 50 --threshold p99<30s --threshold rps>100000000 {url}"));
    assert_eq!(missed.code, 99);
    assert!(
        missed.stdout.contains("✓ p99<30s") && missed.stdout.contains("✗ rps>100000000"),
        "{}",
        missed.stdout
    );
    let failing = Server::answering(|request| {
        if request.number % 4 == 0 { answer("503 Service Unavailable", "", "") } else { ok("x") }
    });
    assert_eq!(run(&format!("-n 40 --threshold errors<0.1% {}", failing.url())).code, 99);
    assert_eq!(run(&format!("-n 40 {}", failing.url())).code, 0);
}

#[test]
fn an_interrupt_gives_the_report_so_far() {
    let server = Server::round_robin(2);
    let program = Program::start(&["-d", "50s", "-c", "2", &server.url()]);
    let deadline = Instant::now() + Duration::from_secs(20);
    while server.requests() < 100 {
        assert!(Instant::now() < deadline, "no requests came");
        std::thread::yield_now();
    }
    program.interrupt();
    let interrupted = Instant::now();
    let output = program.wait();
    assert!(interrupted.elapsed() < Duration::from_secs(5));
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert!(output.stdout.contains("interrupted: the report so far"), "{}", output.stdout);
    assert!(output.stdout.contains("Worker distribution"));
}
