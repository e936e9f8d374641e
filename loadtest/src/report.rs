//! Makes a [`Report`] of what was measured. The forms of output are below it.

pub mod csv;
pub mod format;
pub mod html;
pub mod model;
pub mod progress;
pub mod text;
mod validity;

use std::time::{Duration, SystemTime};

use shared_balance_stats::Balance;

use crate::balance::sentence;
use crate::client::Measured;
use crate::client::failure::ErrorClass;
use crate::plan::condition::{Condition, Metric};
use crate::plan::{Load, Plan};
use crate::stats::{Latency, WorkerTally};
use model::{
    BalanceReport, ErrorRow, MixRow, Outcome, Point, Report, SCHEMA, Series, Setup, Threshold, Times, Tls,
    WorkerRow,
};

/// How a response names the primary in the header `x-worker-id`.
const PRIMARY: &str = "0";
/// Below this many values the 99th percentile rests on fewer than ten of them.
pub const CONFIDENT: u64 = 1_000;

impl Report {
    /// `started` is when the run began.
    pub fn new(plan: &Plan, measured: &Measured, conditions: &[Condition], started: SystemTime) -> Self {
        let recorder = &measured.recorder;
        let workers = sorted(&recorder.workers.known);
        let client = validity::client(plan, measured);
        let mut report = Self {
            schema: SCHEMA.to_owned(),
            started: humantime::format_rfc3339_seconds(started).to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            setup: setup(plan),
            outcome: outcome(measured),
            service_time: times(&recorder.service, true),
            response_time: plan.is_open().then(|| times(&recorder.response, true)),
            connect_time: (recorder.connect.count() > 0).then(|| times(&recorder.connect, false)),
            tls: measured.security.clone().map(|security| Tls { security, handshakes: recorder.handshakes }),
            errors: errors(measured),
            statuses: recorder.statuses.clone(),
            balance: balance(&workers),
            workers: rows(&workers),
            unnamed_responses: recorder.workers.unnamed,
            mix: mix(plan, measured),
            client,
            series: series(measured),
            thresholds: Vec::new(),
            notes: Vec::new(),
        };
        report.statuses.sort_unstable();
        report.thresholds = conditions.iter().map(|condition| judge(condition, &report, measured)).collect();
        report.notes = validity::notes(plan, measured, &report);
        report
    }
}

fn setup(plan: &Plan) -> Setup {
    let (mode, rate) = match plan.load {
        Load::Closed => ("closed", None),
        Load::Open { from, to } if from == to => ("open", Some((from, to))),
        Load::Open { from, to } => ("ramp", Some((from, to))),
    };
    let over = if plan.unix_socket.is_some() { " over a Unix socket" } else { "" };
    let version = if plan.http2 { "HTTP/2" } else { "HTTP/1.1" };
    let tls = if plan.target.https { " with TLS" } else { "" };
    Setup {
        target: plan.target.name(),
        requests: plan.requests.iter().map(|request| request.label.clone()).collect(),
        protocol: format!("{version}{tls}{over}"),
        mode: mode.to_owned(),
        connections: plan.connections,
        streams: plan.streams,
        threads: plan.threads,
        keepalive: plan.keepalive,
        rate,
        warmup_seconds: plan.warmup.as_secs_f64(),
        timeout_seconds: plan.timeout.as_secs_f64(),
    }
}

fn outcome(measured: &Measured) -> Outcome {
    let recorder = &measured.recorder;
    let seconds = measured.elapsed.as_secs_f64();
    let unanswered: u64 = recorder.failed
        - recorder.statuses.iter().filter(|(s, _)| *s >= 400).map(|(_, n)| n).sum::<u64>()
        - recorder.errors[ErrorClass::WrongBody as usize].count;
    Outcome {
        seconds,
        interrupted: measured.interrupted,
        requests: recorder.answered + unanswered,
        answered: recorder.answered,
        succeeded: recorder.answered + unanswered - recorder.failed,
        failed: recorder.failed,
        in_flight: measured.in_flight,
        retried: recorder.retried,
        requests_per_second: if seconds > 0.0 { recorder.answered as f64 / seconds } else { 0.0 },
        bytes: recorder.bytes,
    }
}

/// In milliseconds.
fn times(latency: &Latency, with_histogram: bool) -> Times {
    let ms = |nanos: u64| nanos as f64 / 1e6;
    let quantile = |q: f64| ms(latency.quantile(q));
    Times {
        count: latency.count(),
        avg: latency.mean() / 1e6,
        stdev: latency.stdev() / 1e6,
        min: ms(latency.min()),
        p50: quantile(0.50),
        p75: quantile(0.75),
        p90: quantile(0.90),
        p95: quantile(0.95),
        p99: quantile(0.99),
        p999: quantile(0.999),
        max: ms(latency.max()),
        histogram: if with_histogram { latency.buckets() } else { Vec::new() },
    }
}

fn errors(measured: &Measured) -> Vec<ErrorRow> {
    let tallies = ErrorClass::ALL.into_iter().zip(&measured.recorder.errors);
    tallies
        .filter(|(_, tally)| tally.count > 0)
        .map(|(class, tally)| ErrorRow {
            class,
            count: tally.count,
            example: tally.example.clone().unwrap_or_default(),
        })
        .collect()
}

/// By number when the names are numbers, else by name.
fn sorted(workers: &[WorkerTally]) -> Vec<(String, &WorkerTally)> {
    let name = |worker: &WorkerTally| String::from_utf8_lossy(worker.tag.as_bytes()).into_owned();
    let mut named: Vec<_> = workers.iter().map(|worker| (name(worker), worker)).collect();
    named.sort_by_key(|(name, _)| (name.parse::<u64>().unwrap_or(u64::MAX), name.clone()));
    named
}

fn rows(workers: &[(String, &WorkerTally)]) -> Vec<WorkerRow> {
    let total: u64 = workers.iter().map(|(_, worker)| worker.requests).sum();
    let row = |(id, worker): &(String, &WorkerTally)| WorkerRow {
        id: id.clone(),
        requests: worker.requests,
        errors: worker.errors,
        connections: worker.connections,
        own_connections: worker.own_connections,
        share: worker.requests as f64 / total as f64,
        times: times(&worker.times, false),
    };
    workers.iter().map(row).collect()
}

fn balance(workers: &[(String, &WorkerTally)]) -> Option<BalanceReport> {
    // Id 0 is the primary, whose own answers are no dispatch; alone it is a
    // process without a cluster.
    let clustered = workers.iter().any(|(name, _)| name != PRIMARY);
    let workers: Vec<_> = workers.iter().filter(|(name, _)| !clustered || name != PRIMARY).collect();
    let names: Vec<String> = workers.iter().map(|(name, _)| name.clone()).collect();
    let column = |of: fn(&WorkerTally) -> u64| workers.iter().map(|(_, w)| of(w)).collect::<Vec<_>>();
    let counts = column(|worker| worker.requests);
    let requests = Balance::of(&counts)?;
    let mut analysis = sentence(&requests, &names, &counts, "requests");
    let (all, own) = (column(|worker| worker.connections), column(|worker| worker.own_connections));
    let sticky = all == own;
    let connections = Balance::of(&own).filter(|_| sticky);
    // Where every connection had one request, both are the same thing.
    let reused = requests.total > own.iter().sum();
    if requests.workers > 1 && reused {
        match &connections {
            Some(balance) => {
                analysis
                    .push_str(" Every connection stayed with one worker, so requests follow connections. ");
                analysis.push_str(&sentence(balance, &names, &own, "connections"));
            }
            None => analysis.push_str(" Requests of one connection went to several workers."),
        }
    }
    Some(BalanceReport { requests, connections, analysis })
}

fn mix(plan: &Plan, measured: &Measured) -> Vec<MixRow> {
    let tallies = plan.requests.iter().zip(&measured.recorder.requests);
    tallies
        .map(|(request, tally)| MixRow {
            request: request.label.clone(),
            answered: tally.answered,
            errors: tally.errors,
            times: times(&tally.times, false),
        })
        .collect()
}

fn series(measured: &Measured) -> Series {
    let width = measured.series.width().as_secs_f64();
    let end = measured.elapsed.as_secs_f64();
    let ms = |nanos: u64| nanos as f64 / 1e6;
    let points = measured.series.points().iter().enumerate().map(|(index, interval)| {
        let at = (index as f64 * width * 1e3).round() / 1e3;
        Point {
            at,
            seconds: (end - at).clamp(0.0, width),
            answered: interval.answered,
            errors: interval.errors,
            avg: interval.mean() / 1e6,
            p50: ms(interval.quantile(0.50)),
            p95: ms(interval.quantile(0.95)),
            p99: ms(interval.quantile(0.99)),
            max: ms(interval.max()),
        }
    });
    // The tick in which the run ended may be too short to say anything.
    let points = points.filter(|point| point.seconds > 0.0 || point.answered + point.errors > 0).collect();
    Series { seconds_per_point: width, points }
}

/// What `metric` came to, in its own unit; `None` when nothing was measured.
pub(crate) fn value(metric: Metric, report: &Report, measured: &Measured) -> Option<f64> {
    let latency = if report.is_open() { &measured.recorder.response } else { &measured.recorder.service };
    let timed = |nanos: f64| (latency.count() > 0).then_some(nanos);
    match metric {
        Metric::Average => timed(latency.mean()),
        Metric::Minimum => timed(latency.min() as f64),
        Metric::Maximum => timed(latency.max() as f64),
        Metric::Percentile(percentile) => timed(latency.quantile(percentile / 100.0) as f64),
        Metric::Rate => Some(report.outcome.requests_per_second),
        Metric::Errors => Some(report.outcome.failed as f64),
        Metric::ErrorShare if report.outcome.requests == 0 => None,
        Metric::ErrorShare => Some(100.0 * report.outcome.failed as f64 / report.outcome.requests as f64),
        Metric::Variation => report.balance.as_ref().map(|balance| balance.requests.cv),
        Metric::MaxOverMin => report.balance.as_ref().and_then(|balance| balance.requests.max_over_min),
    }
}

/// A condition on something that was not measured is not met.
pub(crate) fn judge(condition: &Condition, report: &Report, measured: &Measured) -> Threshold {
    let value = value(condition.metric, report, measured);
    let actual = match (condition.metric, value) {
        (_, None) => "not measured".to_owned(),
        (Metric::Rate, Some(value)) => format::rate(value),
        (Metric::Errors, Some(value)) => format::count(value as u64),
        (Metric::ErrorShare, Some(value)) => format!("{value:.3} %"),
        (Metric::Variation | Metric::MaxOverMin, Some(value)) => format!("{value:.4}"),
        (_, Some(nanos)) => format::time(nanos / 1e6),
    };
    Threshold {
        condition: condition.to_string(),
        actual,
        passed: value.is_some_and(|value| condition.holds(value)),
    }
}

/// Is it long enough for a share of CPU time to mean something?
pub(crate) fn is_long(elapsed: Duration) -> bool {
    elapsed >= Duration::from_secs(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::framing::Tag;

    fn worker(id: &str, requests: u64) -> (String, WorkerTally) {
        let mut workers = crate::stats::Workers::default();
        workers.index(&Tag::new(id.as_bytes()), &crate::stats::Seen::default());
        let mut tally = workers.known.remove(0);
        (tally.requests, tally.connections, tally.own_connections) = (requests, requests, requests);
        (id.to_owned(), tally)
    }

    #[test]
    fn the_primarys_own_answers_are_not_part_of_the_balance() {
        let workers = [worker("0", 3), worker("1", 50), worker("2", 50)];
        let of = |workers: &[(String, WorkerTally)]| {
            let named: Vec<_> = workers.iter().map(|(name, tally)| (name.clone(), tally)).collect();
            balance(&named).unwrap().requests
        };
        assert_eq!((of(&workers).workers, of(&workers).total), (2, 100));
        assert_eq!(of(&workers[..1]).workers, 1);
    }
}
