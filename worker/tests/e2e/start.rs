//! Starting: settings from everywhere, and errors that say what to do.

use std::fs;
use std::net::TcpListener;

use shared_testkit::program::Output;

use crate::http::{FromWorker, get, post_empty};
use crate::process::{Worker, command, run};

fn refused(arguments: &[&str], variables: &[(&str, &str)], dotenv: &str) -> Output {
    let directory = tempfile::tempdir().unwrap();
    if !dotenv.is_empty() {
        fs::write(directory.path().join(".env"), dotenv).unwrap();
    }
    let output = run(command(&directory).args(arguments).envs(variables.iter().copied()));
    assert!(output.stdout.is_empty(), "{output:?}");
    output
}

/// One line on standard error with all of `words`.
fn assert_refused(output: &Output, code: i32, words: &[&str]) {
    let text = &output.stderr;
    assert_eq!(output.code, code, "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    for word in words {
        assert!(text.contains(word), "{text:?} does not name {word:?}");
    }
}

#[test]
fn bad_values_are_refused_with_their_origin_and_an_example() {
    assert_refused(&refused(&["--port", "x"], &[], ""), 2, &["\"x\"", "--port", "3100"]);
    assert_refused(&refused(&["--port", "-1"], &[], ""), 2, &["\"-1\"", "--port"]);
    assert_refused(&refused(&[], &[("PORT", "70000")], ""), 2, &["70000", "variable PORT"]);
    assert_refused(&refused(&[], &[("POD_NAME", "a b")], ""), 2, &["a b", "variable POD_NAME"]);
    assert_refused(&refused(&[], &[], "HOST=::1\nPORT=no\n"), 2, &["PORT in .env line 2", "\"no\""]);
    assert_refused(&refused(&[], &[], "what is this\nPORT=no\n"), 2, &[".env line 2"]);
    assert_refused(&refused(&["--drain-timeout", "soon"], &[], ""), 2, &["--drain-timeout", "30s"]);
    assert_refused(&refused(&["--log-format", "xml"], &[], ""), 2, &["--log-format", "json"]);
    assert_refused(&refused(&[], &[("RUST_LOG", "a=b=c")], ""), 2, &["RUST_LOG", "a=b=c"]);
    for name in [
        "CLUSTER_WORKER_THREADS",
        "CLUSTER_CPU_THREADS",
        "CLUSTER_CPU_QUEUE",
        "CLUSTER_FIBONACCI_MAX",
        "CLUSTER_MAX_BODY",
        "CLUSTER_CRASH_ENABLED",
        "CLUSTER_WORKER_SHUTDOWN_TIMEOUT",
    ] {
        assert_refused(&refused(&[], &[(name, "-5")], ""), 2, &[name, "\"-5\"", "for example"]);
    }
}

#[test]
fn a_bad_redis_url_is_refused_without_its_password() {
    for url in [
        "http://:hunter2@host",
        "redis://:hunter2",
        "redis://:hunter2@host/x",
        "rediss://:hunter2@h/#insecure",
    ] {
        let output = refused(&["--redis-url", url], &[], "");
        assert_refused(&output, 2, &["--redis-url", "redis://127.0.0.1:6379/0"]);
        assert!(!output.stderr.contains("hunter2"));
    }
}

#[test]
fn unknown_flags_are_bad_usage() {
    let output = refused(&["--prot", "1"], &[], "");
    assert_eq!(output.code, 2);
    let text = output.stderr;
    assert!(text.contains("--prot") && text.contains("--port"), "{text}");
}

#[test]
fn help_and_version() {
    let directory = tempfile::tempdir().unwrap();
    let help = run(command(&directory).arg("--help"));
    assert_eq!(help.code, 0);
    let text = help.stdout;
    for word in ["--host", "--port", "--redis-url", "--state-dir", "--drain-timeout", "--log-format", "3100"]
    {
        assert!(text.contains(word), "{text}");
    }
    assert!(!text.contains("--supervised"), "{text}");
    let version = run(command(&directory).arg("--version"));
    assert_eq!(version.stdout, format!("worker {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_port_in_use_is_a_failure_that_says_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let output = refused(&["--port", &address.port().to_string()], &[], "");
    let expected = format!("could not bind {address}: address in use (set --port or PORT)");
    assert_refused(&output, 1, &[&expected]);
    // Not an address of this machine.
    let output = refused(&["--host", "192.0.2.1", "--port", "0"], &[], "");
    assert_refused(&output, 1, &["192.0.2.1", "--host"]);
}

#[test]
fn a_state_directory_that_cannot_be_used() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let output = refused(&["--port", "0", "--state-dir", file.join("x").to_str().unwrap()], &[], "");
    assert_refused(&output, 1, &["file/x", "--state-dir", "CLUSTER_STATE_DIR"]);
}

#[test]
fn flag_beats_environment_beats_dotenv() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("from-flag");
    let worker = Worker::start_with(
        &["--state-dir", place.to_str().unwrap()],
        &[("CLUSTER_STATE_DIR", "/nonexistent/from-environment")],
    );
    post_empty(worker.port, "/cluster/shared-state/k/increment").ok();
    assert!(place.join("state.sqlite3").exists());
    drop(worker);
    // A named directory outlives its worker.
    let worker = Worker::start_with(&[], &[("CLUSTER_STATE_DIR", place.to_str().unwrap())]);
    assert_eq!(get(worker.port, "/cluster/shared-state/k").ok()["value"], 1);
}

#[test]
fn log_lines_are_json_when_asked() {
    let worker = Worker::start();
    get(worker.port, "/no/such/route");
    let log = worker.log();
    for entry in &log {
        assert!(entry["timestamp"].is_string() && entry["level"].is_string(), "{entry}");
        assert!(entry["message"].is_string(), "{entry}");
    }
    assert_eq!(log.len(), 1, "nothing is logged per request: {log:#?}");
}
