use super::*;
use crate::report::model::{Client, Outcome, Point, Series, Setup};

/// A run with about `rate` requests per second, and times around `ms`.
fn report(seed: u64, rate: f64, ms: f64) -> Report {
    let mut random = fastrand::Rng::with_seed(seed);
    let points: Vec<Point> = (0..40)
        .map(|index| Point {
            at: f64::from(index) * 0.1,
            seconds: 0.1,
            answered: (rate * 0.1 * (0.97 + 0.06 * random.f64())) as u64,
            errors: 0,
            avg: ms,
            p50: ms,
            p95: ms,
            p99: ms,
            max: ms,
        })
        .collect();
    let answered: u64 = points.iter().map(|point| point.answered).sum();
    let mut nanos: Vec<u64> = (0..answered).map(|_| (ms * 1e6 * (0.5 + random.f64())) as u64).collect();
    nanos.sort_unstable();
    let at = |quantile: f64| nanos[(quantile * (nanos.len() - 1) as f64) as usize] as f64 / 1e6;
    let times = Times {
        count: answered,
        avg: nanos.iter().sum::<u64>() as f64 / answered as f64 / 1e6,
        stdev: ms * 0.2887,
        p50: at(0.5),
        p90: at(0.9),
        p95: at(0.95),
        p99: at(0.99),
        histogram: nanos.into_iter().map(|value| (value, 1)).collect(),
        ..Times::default()
    };
    Report {
        schema: SCHEMA.to_owned(),
        started: String::new(),
        version: String::new(),
        setup: Setup {
            target: "http://127.0.0.1:3100".to_owned(),
            requests: vec!["GET /".to_owned()],
            protocol: "HTTP/1.1".to_owned(),
            mode: "closed".to_owned(),
            connections: 8,
            streams: 1,
            threads: 1,
            keepalive: true,
            rate: None,
            warmup_seconds: 0.0,
            timeout_seconds: 30.0,
        },
        outcome: Outcome {
            seconds: 4.0,
            interrupted: false,
            requests: answered,
            answered,
            succeeded: answered,
            failed: 0,
            in_flight: 0,
            retried: 0,
            requests_per_second: answered as f64 / 4.0,
            bytes: 0,
        },
        service_time: times,
        response_time: None,
        connect_time: None,
        tls: None,
        errors: Vec::new(),
        statuses: Vec::new(),
        workers: Vec::new(),
        unnamed_responses: 0,
        balance: None,
        mix: Vec::new(),
        client: Client { cpu: vec![0.5], waited: vec![0.0], lag: None, achieved: None, limited_by: None },
        series: Series { seconds_per_point: 0.1, points },
        thresholds: Vec::new(),
        notes: Vec::new(),
    }
}

fn verdicts(comparison: &Comparison) -> Vec<(&'static str, Verdict)> {
    comparison.rows.iter().map(|row| (row.name, row.verdict)).collect()
}

#[test]
fn a_faster_run_is_better_and_the_other_way_round_worse() {
    let (slow, fast) = (report(1, 5_000.0, 2.0), report(2, 6_000.0, 1.6));
    let better = compare(&slow, &fast);
    assert!(better.verdict.starts_with("B is better: requests/s, avg, p50"), "{}", better.verdict);
    let rate = &better.rows[0];
    let interval = rate.interval.unwrap();
    assert!(interval.low > 15.0 && interval.high < 25.0, "{interval:?}");
    assert!(compare(&fast, &slow).verdict.starts_with("B is worse: requests/s"));
}

#[test]
fn the_same_thing_twice_shows_no_difference() {
    let (a, b) = (report(3, 5_000.0, 2.0), report(4, 5_000.0, 2.0));
    let comparison = compare(&a, &b);
    assert_eq!(comparison.verdict, "No difference shown between A and B.", "{:?}", verdicts(&comparison));
    assert!(render(&comparison).contains("requests/s"));
}

#[test]
fn times_that_wander_within_a_run_make_wide_intervals() {
    let (mut a, mut b) = (report(8, 5_000.0, 2.0), report(9, 5_000.0, 2.1));
    // All requests taken as independent, 5 % would be beyond doubt.
    assert_eq!(compare(&a, &b).rows[2].verdict, Verdict::Worse);
    for report in [&mut a, &mut b] {
        for (index, point) in report.series.points.iter_mut().enumerate() {
            point.p50 *= if index / 10 % 2 == 0 { 0.5 } else { 1.5 };
        }
    }
    assert_eq!(compare(&a, &b).rows[2].verdict, Verdict::Unclear);
}

#[test]
fn errors_and_differing_setups_are_named() {
    let (a, mut b) = (report(5, 5_000.0, 2.0), report(6, 5_000.0, 2.0));
    b.outcome.failed = 400;
    b.setup.connections = 64;
    let comparison = compare(&a, &b);
    assert!(comparison.verdict.contains("errors %"), "{}", comparison.verdict);
    assert_eq!(comparison.differences, ["connections: 8 against 64"]);
    b.client.limited_by = Some("x".to_owned());
    assert!(compare(&a, &b).verdict.starts_with("No verdict"));
}

#[test]
fn a_saved_report_reads_back_as_it_was() {
    let report = report(7, 1_000.0, 1.0);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.json");
    std::fs::write(&path, serde_json::to_string(&report).unwrap()).unwrap();
    let read = load(&path).unwrap();
    assert_eq!(read.service_time.histogram, report.service_time.histogram);
    assert_eq!(compare(&report, &read).verdict, "No difference shown between A and B.");
    std::fs::write(&path, "{}").unwrap();
    assert!(load(&path).unwrap_err().to_string().contains("--save"));
    assert!(load(&directory.path().join("none")).is_err());
}
