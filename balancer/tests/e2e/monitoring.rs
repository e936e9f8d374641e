//! Watched by real tools: promtool judges the metrics and the rules of deploy/monitoring,
//! and a Prometheus scrapes a cluster over a kill and a reload.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};
use shared_testkit::log::Log;

use crate::harness::{Balancer, Cluster, Connection, DEADLINE, eventually, send_signal};

fn monitoring() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/monitoring")
}

/// A Prometheus with the project's rules, which scrapes one cluster five times a second.
struct Prometheus {
    process: Child,
    address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Prometheus {
    fn watch(cluster: &Cluster) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let admin = cluster.admin.unwrap().to_string();
        let config = json!({
            "global": {"scrape_interval": "200ms", "scrape_timeout": "200ms", "evaluation_interval": "200ms"},
            "rule_files": [monitoring().join("rules.yml")],
            "scrape_configs": [{"job_name": "balancer", "static_configs": [{"targets": [admin]}]}],
        });
        let file = directory.path().join("prometheus.json");
        fs::write(&file, config.to_string()).unwrap();
        let mut process = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
            .args(["--web.listen-address=127.0.0.1:0", "--log.format=json"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Log::follow(process.stderr.take().unwrap());
        let address = eventually("prometheus is ready", || {
            let events = log.events();
            events.iter().find(|event| event["msg"] == "Server is ready to receive web requests.")?;
            let listening = events.iter().find(|event| event["msg"] == "Listening on")?;
            listening["address"].as_str()?.parse().ok()
        });
        Self { process, address, _directory: directory }
    }

    /// Values of the series that `query` has now, by the label `by`.
    fn query(&self, query: &str, by: &str) -> Vec<(String, f64)> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let mut connection = Connection::open(self.address).unwrap();
        let headers = [("host", "localhost"), ("connection", "close")];
        connection.send_as("GET", &format!("/api/v1/query?query={encoded}"), &headers, b"").unwrap();
        let answer = connection.receive(false).unwrap().json();
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        let series = answer["data"]["result"].as_array().unwrap();
        let value = |series: &Value| series["value"][1].as_str().unwrap().parse().unwrap();
        let label = |series: &Value| series["metric"][by].as_str().unwrap_or_default().to_owned();
        series.iter().map(|series| (label(series), value(series))).collect()
    }

    /// Waits until `query` has the one value `expected`.
    fn wait_for(&self, query: &str, expected: f64) {
        eventually(query, || {
            let found = self.query(query, "");
            (found.len() == 1 && (found[0].1 - expected).abs() < 1e-9).then_some(())
        });
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn metrics(cluster: &Cluster, accept: &str) -> (String, String) {
    let mut connection = Connection::open(cluster.admin.unwrap()).unwrap();
    let headers = [("host", "localhost"), ("connection", "close"), ("accept", accept)];
    connection.send_as("GET", "/metrics", &headers, b"").unwrap();
    let answer = connection.receive(false).unwrap();
    (answer.header("content-type").unwrap().to_owned(), answer.text())
}

/// What `promtool` says when it reads `input`; it may say nothing.
fn promtool(arguments: &[&str], input: &str) -> String {
    let mut process = Command::new("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    process.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = process.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(output.status.success(), "{arguments:?}: {text}");
    text
}

#[test]
fn each_form_of_the_metrics_comes_to_who_asks_for_it() {
    let cluster = Balancer::cluster(1).start_ready();
    let (kind, open) = metrics(&cluster, "application/openmetrics-text;version=1.0.0,text/plain;q=0.5");
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    assert!(open.ends_with("# EOF\n") && open.contains("# TYPE balancer_build info\n"), "{open}");
    let (kind, plain) = metrics(&cluster, "*/*");
    assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8");
    assert!(!plain.contains("# EOF") && !plain.contains("# UNIT"), "{plain}");
    assert!(plain.contains("# TYPE balancer_build_info gauge\n"), "{plain}");
    let names = |text: &str| -> BTreeSet<String> {
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        samples.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
    };
    assert_eq!(names(&open), names(&plain), "both have the same series");
}

#[test]
#[ignore = "needs prometheus: bash .ci/setup"]
fn promtool_has_nothing_to_say_about_the_metrics() {
    let cluster = Balancer::cluster(2).start_ready();
    (0..5).for_each(|_| assert_eq!(cluster.get("/cluster/info").status, 200));
    send_signal(cluster.worker_pids()[0], Signal::KILL);
    eventually("the crash is counted", || {
        let text = metrics(&cluster, "*/*").1;
        text.contains("balancer_worker_replacements_total{").then_some(())
    });
    assert_eq!(promtool(&["check", "metrics"], &metrics(&cluster, "*/*").1), "");
}

#[test]
#[ignore = "needs prometheus: bash .ci/setup"]
fn alerts_fire_and_stay_silent_as_they_should() {
    let path = |name: &str| monitoring().join(name).to_str().unwrap().to_owned();
    promtool(&["check", "config", &path("prometheus.yml")], "");
    promtool(&["check", "rules", &path("rules.yml")], "");
    promtool(&["test", "rules", &path("rules_test.yml")], "");
    let rules = fs::read_to_string(path("rules.yml")).unwrap();
    let tests = fs::read_to_string(path("rules_test.yml")).unwrap();
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(tests.contains(&format!("alertname: {alert}\n")), "no test lets {alert} fire");
    }
}

#[test]
#[ignore = "needs prometheus: bash .ci/setup"]
fn prometheus_follows_a_cluster_over_a_kill_and_a_reload() {
    let cluster = Balancer::cluster(2).start_ready();
    let prometheus = Prometheus::watch(&cluster);
    prometheus.wait_for("up", 1.0);
    prometheus.wait_for("balancer_workers_online", 2.0);
    (0..20).for_each(|_| assert_eq!(cluster.get("/cluster/info").status, 200));
    prometheus.wait_for("sum(balancer_requests_total{worker!='0'})", 20.0);
    send_signal(cluster.worker_pids()[0], Signal::KILL);
    prometheus.wait_for("sum(balancer_worker_replacements_total{reason='crash'})", 1.0);
    prometheus.wait_for("balancer_workers_online", 2.0);
    assert_eq!(cluster.operate(&["reload"]).0, 0);
    prometheus.wait_for("balancer_reloads_total{outcome='done'}", 1.0);
    prometheus.wait_for("sum(balancer_worker_replacements_total{reason='reload'})", 2.0);
    (0..20).for_each(|_| assert_eq!(cluster.get("/cluster/info").status, 200));
    prometheus.wait_for("sum(balancer_requests_total{worker!='0'})", 40.0);
    // What is counted belongs to the place of a worker, not to its process.
    prometheus.wait_for("max(resets(balancer_requests_total[5m]))", 0.0);
    prometheus.wait_for("count(balancer_worker_state == 1)", 2.0);
    prometheus.wait_for("count(instance:balancer_request_errors:ratio_rate5m == 0)", 1.0);
    assert_eq!(prometheus.query("ALERTS{alertstate='firing'}", "alertname"), [], "nothing has gone wrong");
}

/// The dashboard, the rules and the metrics speak of the same names.
#[test]
fn the_dashboard_and_the_rules_name_metrics_that_there_are() {
    // With everything on that has metrics of its own.
    let cluster = Balancer::new(&["--port", "0", "--workers", "1..2"]).start_ready();
    assert_eq!(cluster.get("/cluster/info").status, 200);
    send_signal(cluster.worker_pids()[0], Signal::KILL);
    let known = eventually("a worker was replaced", || {
        let text = metrics(&cluster, "*/*").1;
        text.contains("balancer_worker_replacements_total{").then_some(text)
    });
    let rules = fs::read_to_string(monitoring().join("rules.yml")).unwrap();
    let dashboard = fs::read_to_string(monitoring().join("grafana/balancer.json")).unwrap();
    let _: Value = serde_json::from_str(&dashboard).expect("the dashboard is JSON");
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let mut found = 0;
    for text in [&rules, &dashboard] {
        for (begin, _) in text.match_indices("balancer_") {
            let is_recorded = text[..begin].ends_with("instance:");
            let end = text[begin..].find(|letter| !is_part(letter)).map_or(text.len(), |end| begin + end);
            let name = &text[begin..end];
            if is_recorded {
                assert!(rules.contains(&format!("record: instance:{name}:")), "{name} is not recorded");
            } else {
                let has_series =
                    known.contains(&format!("\n{name} ")) || known.contains(&format!("\n{name}{{"));
                // Only with a certificate.
                assert!(has_series || name.starts_with("balancer_tls_certificate"), "{name} is no metric");
            }
            found += 1;
        }
    }
    assert!(found > 30, "{found} names");
}

/// Large clusters stay cheap to watch.
#[test]
fn a_scrape_of_many_workers_is_small() {
    let cluster = Balancer::cluster(32).start_ready();
    (0..64).for_each(|_| assert_eq!(cluster.get("/cluster/info").status, 200));
    let begin = std::time::Instant::now();
    let (_, text) = metrics(&cluster, "*/*");
    let took = begin.elapsed();
    assert!(text.len() < 32 * 4096 + 16_384, "{} bytes", text.len());
    assert!(took < DEADLINE, "{took:?}");
}
