//! What is written to files, and read back.

use std::path::Path;

use crate::program::run;
use shared_testkit::server::Server;

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn every_form_of_output_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let server = Server::round_robin(3);
    let output = run(&format!(
        "-d 1s -c 4 --save {} --html {} --csv {} {}",
        at("r.json").display(),
        at("r.html").display(),
        at("r.csv").display(),
        server.url()
    ));
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert!(output.stdout.contains("Throughput"), "text comes as well");
    let json: serde_json::Value = serde_json::from_str(&text(&at("r.json"))).unwrap();
    assert_eq!(json["schema"], "loadtest/1");
    let answered = json["outcome"]["answered"].as_u64().unwrap();
    let counted = |rows: &serde_json::Value| {
        rows.as_array().unwrap().iter().map(|row| row[1].as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!(counted(&json["serviceTime"]["histogram"]), answered);

    let csv = text(&at("r.csv"));
    let rows: Vec<Vec<f64>> =
        csv.lines().skip(1).map(|line| line.split(',').map(|cell| cell.parse().unwrap()).collect()).collect();
    assert_eq!(rows.len(), 10, "{csv}");
    assert_eq!(rows.iter().map(|row| row[2] as u64).sum::<u64>(), answered);

    let html = text(&at("r.html"));
    assert!(html.starts_with("<!doctype html>") && html.trim_end().ends_with("</html>"));
    for part in ["<svg", "prefers-color-scheme: dark", "name=\"viewport\"", "Workers", "over time"] {
        assert!(html.contains(part), "{part}");
    }
    // Nothing in it makes a browser ask anybody for anything.
    for part in
        ["<script", "<img", "<iframe", "src=", "url(", "@import", "href=\"http", "<base", "http-equiv"]
    {
        assert!(!html.contains(part), "{part}");
    }
}

#[test]
fn what_a_server_says_does_not_become_markup() {
    let directory = tempfile::tempdir().unwrap();
    let html = directory.path().join("r.html");
    let server = Server::answering(|_| {
        shared_testkit::server::answer("200 OK", "x-worker-id: <script>alert(1)</script>\r\n", "x")
    });
    run(&format!("-n 20 -q --html {} {}", html.display(), server.url()));
    let html = text(&html);
    assert!(html.contains("&lt;script&gt;") && !html.contains("<script"));
}

#[test]
fn json_on_standard_output_is_all_that_stands_there() {
    let server = Server::round_robin(2);
    let output = run(&format!("-n 10 --json {}", server.url()));
    assert_eq!(output.json()["outcome"]["answered"], 10);
    let quiet = run(&format!("-n 10 -q {}", server.url()));
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str(), quiet.code), ("", "", 0));
    let unwritable = run(&format!("-n 10 -q --save /no/such/place {}", server.url()));
    assert_eq!(unwritable.code, 1);
    assert!(unwritable.stderr.contains("could not write /no/such/place"), "{}", unwritable.stderr);
}

#[test]
fn two_results_are_compared() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).display().to_string();
    let fast = Server::round_robin(2);
    let slow = Server::answering(|request| {
        std::thread::sleep(std::time::Duration::from_millis(5));
        shared_testkit::server::worker_answer(request.number % 2 + 1)
    });
    for (server, name) in [(&fast, "fast.json"), (&slow, "slow.json")] {
        run(&format!("-d 1500ms -c 4 -q --save {} {}", at(name), server.url()));
    }
    let output = run(&format!("compare {} {}", at("fast.json"), at("slow.json")));
    assert_eq!(output.code, 0, "{}", output.stderr);
    // The rate of a busy machine may swing too much to be judged; the latency does not.
    let judged = output.stdout.lines().find_map(|line| line.strip_prefix("B is worse: "));
    assert!(judged.is_some_and(|what| what.contains("p50")), "{}", output.stdout);
    assert!(output.stdout.contains("95 % confidence"), "{}", output.stdout);
    let json = run(&format!("compare --json {} {}", at("slow.json"), at("fast.json"))).json();
    assert!(json["verdict"].as_str().unwrap().starts_with("B is better"), "{json}");
    let missing = run(&format!("compare {} {}", at("fast.json"), at("none.json")));
    assert_eq!(missing.code, 1);
    assert!(missing.stderr.contains("none.json"), "{}", missing.stderr);
}
