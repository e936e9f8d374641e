//! Flags, variables and `.env`; and what happens to wrong ones.

use serde_json::json;

use crate::harness::{Balancer, eventually};

/// Refused at start, with code 2 and one line that has all of `parts`.
fn refused(balancer: Balancer, parts: &[&str]) {
    let (code, text) = balancer.output();
    assert_eq!(code, 2, "{text}");
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in: {text}");
    }
    assert_eq!(text.trim().lines().count(), 1, "one line: {text}");
}

#[test]
fn help_and_version_say_what_there_is() {
    let (code, help) = Balancer::new(&["--help"]).output();
    assert_eq!(code, 0);
    for part in ["--workers", "--cluster", "CLUSTER_WORKERS", "Examples:", "Exit codes"] {
        assert!(help.contains(part), "{part} is missing in: {help}");
    }
    assert!(!help.contains("worker-process"), "the hidden subcommand stays hidden");
    let (code, version) = Balancer::new(&["--version"]).output();
    assert_eq!((code, version.trim()), (0, concat!("balancer ", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn an_unknown_flag_is_refused_with_a_hint() {
    let (code, text) = Balancer::new(&["--worker", "4"]).output();
    assert_eq!(code, 2);
    assert!(text.contains("--workers"), "{text}");
}

#[test]
fn values_that_do_not_parse_are_refused_with_their_origin_and_an_example() {
    refused(Balancer::new(&["--workers", "0"]), &["\"0\"", "--workers", "from 1 to 512", "--workers 4"]);
    refused(Balancer::new(&["--workers", "-2"]), &["\"-2\"", "--workers"]);
    refused(Balancer::new(&["--port", "99999"]), &["\"99999\"", "--port", "--port 3100 or PORT=3100"]);
    refused(Balancer::new(&["--drain-timeout", "5"]), &["\"5\"", "--drain-timeout", "30s"]);
    refused(Balancer::new(&["--cluster", "on"]), &["\"on\"", "--cluster", "auto, manual or off"]);
    refused(Balancer::new(&["--cluster", "off", "--workers", "2"]), &["--workers", "--cluster off"]);
    refused(Balancer::new(&[]).env("CLUSTER_HEALTH_FALL", "none"), &["CLUSTER_HEALTH_FALL", "from 1 to 100"]);
    refused(Balancer::new(&[]).env("CLUSTER_FIBONACCI_MAX", "many"), &["CLUSTER_FIBONACCI_MAX"]);
    refused(Balancer::new(&[]).env("RUST_LOG", "a=b=c"), &["RUST_LOG"]);
    refused(Balancer::new(&["--kill-timeout", "9000years"]), &["--kill-timeout"]);
}

#[test]
fn a_password_is_not_shown() {
    let (code, text) = Balancer::new(&["--redis-url", "http://:hunter2@localhost"]).output();
    assert_eq!(code, 2);
    assert!(text.contains("--redis-url") && !text.contains("hunter2"), "{text}");
    let (code, text) = Balancer::new(&[]).dotenv("REDIS_URL=http://:hunter2 x@localhost\n").output();
    assert_eq!(code, 2);
    assert!(text.contains(".env line 1") && text.contains("REDIS_URL"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn a_bad_dotenv_is_refused_with_its_line() {
    refused(
        Balancer::new(&[]).dotenv("PORT=0\nCLUSTER_WORKERS=many\n"),
        &["CLUSTER_WORKERS in .env line 2", "\"many\""],
    );
    refused(
        Balancer::new(&[]).dotenv("what is this\nCERT=\"\nPORT=1\n\"\nPORT=no\n"),
        &["PORT in .env line 5", "\"no\""],
    );
}

#[test]
fn flag_beats_environment_beats_dotenv() {
    let dotenv = "PORT=0\nCLUSTER_WORKERS=3\nLOG_FORMAT=json\n";
    let workers =
        |balancer: Balancer| balancer.dotenv(dotenv).start().get("/cluster/workers").json()["count"].clone();
    assert_eq!(workers(Balancer::new(&[])), 3);
    assert_eq!(workers(Balancer::new(&[]).env("CLUSTER_WORKERS", "2")), 2);
    assert_eq!(workers(Balancer::new(&["--workers", "1"]).env("CLUSTER_WORKERS", "2")), 1);
}

#[test]
fn a_port_in_use_is_refused_and_its_owner_untouched() {
    let first = Balancer::cluster(1).start_ready();
    let port = first.address.port().to_string();
    let (code, text) = Balancer::new(&["--workers", "1", "--port", &port]).output();
    assert_eq!(code, 1);
    assert_eq!(
        text.trim(),
        format!("balancer: could not bind 127.0.0.1:{port}: address in use (set --port or PORT)")
    );
    assert_eq!(first.get("/cluster/info").status, 200);
    let (code, text) = Balancer::new(&["--host", "192.0.2.1"]).output();
    assert_eq!(code, 1);
    assert!(text.contains("192.0.2.1:3100") && text.contains("--host"), "{text}");
}

#[test]
fn a_flag_also_beats_a_bad_variable_for_the_workers() {
    let cluster = Balancer::cluster(1).with(&["--drain-timeout", "10s"]).env("CLUSTER_DRAIN_TIMEOUT", "abc");
    assert_eq!(cluster.start_ready().get("/cluster/info").status, 200);
}

#[test]
fn workers_keep_the_settings_of_the_start() {
    let cluster = Balancer::cluster(1).dotenv("CLUSTER_FIBONACCI_MAX=20\n").start_ready();
    let too_large = || cluster.post("/cluster/cpu-intensive", &json!({"n": 21})).problem(400);
    assert!(too_large().contains("20"));
    std::fs::write(cluster.directory().join(".env"), "CLUSTER_FIBONACCI_MAX=oops\n").unwrap();
    cluster.post("/cluster/crash", &json!({}));
    eventually("the worker is replaced", || (cluster.workers()[0]["restarts"] == 1).then_some(()));
    cluster.wait_ready();
    assert!(too_large().contains("20"));
}

#[test]
fn too_few_file_descriptors_are_refused_with_a_hint() {
    let mut command = std::process::Command::new("sh");
    let script = format!("ulimit -n 100; exec {} --port 0 --workers 60", env!("CARGO_BIN_EXE_balancer"));
    let output = command.args(["-c", &script]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("60 workers need at least") && text.contains("ulimit -n"), "{text}");
}

#[test]
fn another_health_path_works_and_a_bad_one_says_why() {
    let cluster = Balancer::cluster(1).with(&["--health-path", "/cluster/info"]).start_ready();
    assert_eq!(cluster.get("/health").json()["status"], "ok");
    let never = Balancer::cluster(1).with(&["--health-path", "/nope", "--startup-timeout", "300ms"]).start();
    eventually("the log says why", || {
        never
            .log()
            .iter()
            .any(|line| line.contains("not ready within 300ms") && line.contains("404"))
            .then_some(())
    });
}

#[test]
fn a_state_directory_that_cannot_be_made_is_refused() {
    let (code, text) = Balancer::new(&["--port", "0", "--state-dir", "/proc/nowhere"]).output();
    assert_eq!(code, 1);
    assert!(text.contains("--state-dir"), "{text}");
}

#[test]
fn the_log_is_lines_of_json_tagged_with_the_worker() {
    let cluster = Balancer::cluster(2).start_ready();
    let online = eventually("both workers are reported", || {
        let events = cluster.events();
        let online: Vec<_> = events.into_iter().filter(|event| event["message"] == "online").collect();
        (online.len() == 2).then_some(online)
    });
    for event in online {
        assert!(event["worker"].as_str().is_some_and(|id| id == "1" || id == "2"), "{event}");
        assert!(event["timestamp"].is_string() && event["level"] == "INFO", "{event}");
    }
    assert_eq!(cluster.events().len(), cluster.log().len(), "every line is JSON");
}

#[test]
fn a_worker_process_started_by_hand_explains_itself() {
    let (code, text) = Balancer::new(&["worker-process", "1"]).output();
    assert_eq!(code, 1);
    assert!(text.contains("started by its primary only"), "{text}");
}
