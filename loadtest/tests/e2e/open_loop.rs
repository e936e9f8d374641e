//! Latency as users would see it, and rates that are kept.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::program::run;
use shared_testkit::server::{Server, ok};

const PERIOD: Duration = Duration::from_secs(5);
const STALL: Duration = Duration::from_secs(1);
/// When in each period: not near its end, where runs of whole periods end, and
/// would leave behind what waits.
const STALL_AT: Duration = Duration::from_secs(2);

/// Answers nothing in one second of every five.
fn stalling() -> Server {
    let start = Instant::now();
    Server::answering(move |_| {
        let phase = Duration::from_nanos((start.elapsed().as_nanos() % PERIOD.as_nanos()) as u64);
        if (STALL_AT..STALL_AT + STALL).contains(&phase) {
            std::thread::sleep(STALL_AT + STALL - phase);
        }
        ok("x")
    })
}

/// A fifth of the requests is due in a stall, at times spread evenly over it,
/// and waits for its end: between 0 and 1 s, evenly. The slowest 1 % of all are
/// the slowest 5 % of these, so the 99th percentile is 950 ms, the 90th 500 ms.
#[test]
fn an_open_loop_sees_the_stalls_as_they_are() {
    let server = stalling();
    let report = run(&format!("-d 10s -R 200 -c 64 --json {}", server.url())).json();
    let response = &report["responseTime"];
    for (name, truth) in [("p99", 950.0), ("p90", 500.0)] {
        let got = response[name].as_f64().unwrap();
        assert!((got / truth - 1.0).abs() < 0.05, "{name} is {got} ms, not {truth} ms");
    }
    assert!(response["p50"].as_f64().unwrap() < 50.0);
    // What was sent late looks fast from when it was sent.
    assert!(report["serviceTime"]["p90"].as_f64().unwrap() < response["p90"].as_f64().unwrap());
    let achieved = &report["client"]["achieved"];
    assert!((1990..=2000).contains(&achieved["due"].as_u64().unwrap()), "{achieved}");
    assert!(achieved["ratio"].as_f64().unwrap() > 0.99, "{achieved}");
}

#[test]
fn a_closed_loop_hides_the_stalls_and_says_so() {
    let server = stalling();
    let output = run(&format!("-d 6s -c 4 {}", server.url()));
    assert!(output.stdout.contains("closed loop"), "{}", output.stdout);
    assert!(output.stdout.contains("stalls hardly show in the percentiles"), "{}", output.stdout);
}

#[test]
fn requests_are_sent_when_they_are_due_and_not_all_at_once() {
    let server = Server::answering(|_| ok("x"));
    let began = Instant::now();
    let report = run(&format!("-n 300 -R 300 -c 4 --json {}", server.url())).json();
    assert!(began.elapsed() >= Duration::from_millis(990));
    let rate = report["outcome"]["requestsPerSecond"].as_f64().unwrap();
    assert!((rate / 300.0 - 1.0).abs() < 0.05, "{rate}");
    assert_eq!(server.requests(), 300);
    let lag = &report["client"]["lag"];
    assert!(lag["p50"].as_f64().unwrap() < 2.0, "{lag}");
}

#[test]
fn a_ramp_sends_the_area_under_its_line() {
    let server = Server::answering(|_| ok("x"));
    let report = run(&format!("-d 2s --ramp 0:400 -c 8 --json {}", server.url())).json();
    let due = report["client"]["achieved"]["due"].as_u64().unwrap();
    assert!((395..=400).contains(&due), "{due}");
    let points = report["series"]["points"].as_array().unwrap();
    let half = |range: std::ops::Range<usize>| {
        points[range].iter().map(|point| point["answered"].as_u64().unwrap()).sum::<u64>()
    };
    let (first, second) = (half(0..10), half(10..20.min(points.len())));
    // A quarter and three quarters.
    assert!((80..=120).contains(&first) && (270..=320).contains(&second), "{first} {second}");
}

#[test]
fn the_warm_up_is_not_measured() {
    let server = Server::answering(|request| {
        // The first ones are slow, as those of a cold server are.
        std::thread::sleep(Duration::from_millis(if request.number < 20 { 100 } else { 0 }));
        ok("x")
    });
    let report = run(&format!("-d 1s --warmup 1s -R 100 -c 16 --json {}", server.url())).json();
    assert!((99..=101).contains(&report["outcome"]["requests"].as_u64().unwrap()), "{}", report["outcome"]);
    assert!(report["responseTime"]["p50"].as_f64().unwrap() < 50.0);
    assert!(server.requests() >= 199);
}

#[test]
fn a_target_that_does_not_keep_up_is_called_so() {
    let server = Server::answering(|_| {
        std::thread::sleep(Duration::from_millis(50));
        ok("x")
    });
    // Two connections can carry 40 requests per second.
    let report = run(&format!("-d 2s -R 200 -c 2 --json {}", server.url())).json();
    let achieved = &report["client"]["achieved"];
    assert!(achieved["ratio"].as_f64().unwrap() < 0.3, "{achieved}");
    assert!(achieved["sentLate"].as_u64().unwrap() > 50, "{achieved}");
    assert!(
        report["notes"]
            .as_array()
            .unwrap()
            .iter()
            .any(|note| note.as_str().unwrap().contains("did not keep up"))
    );
    // From the intended time, the last ones waited for most of the run.
    assert!(report["responseTime"]["max"].as_f64().unwrap() > 1_000.0);
    assert!(report["serviceTime"]["p95"].as_f64().unwrap() < 500.0);
}

#[test]
fn the_highest_rate_is_found() {
    // One at a time, 5 ms each: 200 per second and no more.
    let turn = Mutex::new(());
    let server = Server::answering(move |_| {
        let _turn = turn.lock().unwrap();
        std::thread::sleep(Duration::from_millis(5));
        ok("x")
    });
    let output =
        run(&format!("--find-max p90<60ms,errors<1% -d 600ms --warmup 200ms -c 32 {}", server.url()));
    assert_eq!(output.code, 0, "{}", output.stdout);
    let found = output.stdout.lines().find(|line| line.contains("requests/s keep")).unwrap();
    let best: f64 = found.split(' ').next().unwrap().parse().unwrap();
    assert!((100.0..=215.0).contains(&best), "{}", output.stdout);
    let none = run(&format!("--find-max p50<1us -d 100ms --warmup 10ms -c 1 {}", server.url()));
    assert_eq!(none.code, 99, "{}", none.stdout);
    assert!(none.stdout.contains("Not even 1.00 requests/s"), "{}", none.stdout);
}
