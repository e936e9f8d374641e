//! Is B faster or slower than A? With confidence intervals, because two runs
//! of the same thing differ as well.

mod interval;
mod render;

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::report::model::{Point, Report, SCHEMA, Times};
pub use interval::{Interval, quantile_interval, welch};
pub use render::render;

/// Less than this, in percent, is no difference that matters, however sure.
const MATTERS: f64 = 1.0;

#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    #[error("could not read {path}: {source}", path = path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error(
        "{path} is no result of this program: {reason} (make one with `loadtest -d 10s --save {path}`)",
        path = path.display()
    )]
    Parse { path: PathBuf, reason: String },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Better,
    Worse,
    /// The interval contains no difference.
    Unclear,
    /// Certain, and too small to matter.
    Same,
}

/// One figure of both runs.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    pub name: &'static str,
    pub a: f64,
    pub b: f64,
    /// B over A, in percent: +5 is 5 % more.
    pub change: f64,
    /// 95 % confidence interval of the change, in percent; `None` when the
    /// runs are too short for one.
    pub interval: Option<Interval>,
    pub verdict: Verdict,
    /// Milliseconds, or else per second, or percent.
    pub is_time: bool,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    pub rows: Vec<Row>,
    /// What differs between the two set-ups, and so may be the reason.
    pub differences: Vec<String>,
    pub verdict: String,
}

/// # Errors
/// When the file is not there or not a saved result.
pub fn load(path: &Path) -> Result<Report, CompareError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| CompareError::Read { path: path.to_owned(), source })?;
    let refuse = |reason: String| CompareError::Parse { path: path.to_owned(), reason };
    let report: Report = serde_json::from_str(&text).map_err(|err| refuse(err.to_string()))?;
    if report.schema != SCHEMA {
        return Err(refuse(format!("its form is {:?}, not {SCHEMA:?}", report.schema)));
    }
    Ok(report)
}

/// Compares B with A.
pub fn compare(a: &Report, b: &Report) -> Comparison {
    let mut rows = vec![throughput(a, b)];
    let (ta, tb) = (a.headline_times(), b.headline_times());
    let means = batches(a, b, |point| point.avg);
    rows.push(row("avg", ta.avg, tb.avg, wider(mean_interval(ta, tb), means, ta.avg, tb.avg), true, true));
    for (name, quantile, of, of_point) in QUANTILES {
        let interval = wider(quantile_change(ta, tb, quantile), batches(a, b, of_point), of(ta), of(tb));
        rows.push(row(name, of(ta), of(tb), interval, true, true));
    }
    rows.push(errors(a, b));
    let differences = differences(a, b);
    let verdict = verdict(&rows, a, b);
    Comparison { rows, differences, verdict }
}

/// The name, the quantile, its value of a run, and the nearest one of a stretch.
type Quantile = (&'static str, f64, fn(&Times) -> f64, fn(&Point) -> f64);
const QUANTILES: [Quantile; 4] = [
    ("p50", 0.50, |times| times.p50, |point| point.p50),
    ("p90", 0.90, |times| times.p90, |point| point.p95),
    ("p95", 0.95, |times| times.p95, |point| point.p95),
    ("p99", 0.99, |times| times.p99, |point| point.p99),
];

/// How far the change of `of` is uncertain, in percent, from how much it
/// wanders from stretch to stretch.
fn batches(a: &Report, b: &Report, of: fn(&Point) -> f64) -> Option<f64> {
    let values = |report| whole(report).map(of).collect::<Vec<_>>();
    let (a, b) = (values(a), values(b));
    let mean = a.iter().sum::<f64>() / a.len().max(1) as f64;
    let interval = welch(&a, &b)?.relative_to(mean);
    Some((interval.high - interval.low) / 2.0)
}

/// Widens an interval that takes all requests as independent, which they are
/// not: the stretches of a run tell how much they are not.
fn wider(interval: Option<Interval>, reach: Option<f64>, a: f64, b: f64) -> Option<Interval> {
    let (Some(interval), Some(reach)) = (interval, reach) else { return interval };
    let change = if a > 0.0 { 100.0 * (b / a - 1.0) } else { 0.0 };
    Some(Interval { low: interval.low.min(change - reach), high: interval.high.max(change + reach) })
}

fn row(
    name: &'static str,
    a: f64,
    b: f64,
    interval: Option<Interval>,
    lower_is_better: bool,
    is_time: bool,
) -> Row {
    let change = if a > 0.0 { 100.0 * (b / a - 1.0) } else { 0.0 };
    let verdict = match interval {
        Some(Interval { low, high }) if low > 0.0 || high < 0.0 => {
            if change.abs() < MATTERS {
                Verdict::Same
            } else if (change < 0.0) == lower_is_better {
                Verdict::Better
            } else {
                Verdict::Worse
            }
        }
        Some(Interval { low, high }) if low > -MATTERS && high < MATTERS => Verdict::Same,
        _ => Verdict::Unclear,
    };
    Row { name, a, b, change, interval, verdict, is_time }
}

/// From the rates of the single stretches of time (batch means): requests are
/// not independent of each other, stretches nearly are.
fn throughput(a: &Report, b: &Report) -> Row {
    let interval =
        welch(&rates(a), &rates(b)).map(|difference| difference.relative_to(a.outcome.requests_per_second));
    row("requests/s", a.outcome.requests_per_second, b.outcome.requests_per_second, interval, false, false)
}

fn rates(report: &Report) -> Vec<f64> {
    whole(report).map(|point| point.answered as f64 / point.seconds).collect()
}

/// The whole stretches of time; the first one holds the start.
fn whole(report: &Report) -> impl Iterator<Item = &Point> {
    let width = report.series.seconds_per_point;
    report.series.points.iter().skip(1).filter(move |point| point.seconds >= 0.99 * width)
}

fn mean_interval(a: &Times, b: &Times) -> Option<Interval> {
    if a.count < 30 || b.count < 30 || a.avg <= 0.0 {
        return None;
    }
    // Large samples: the normal distribution will do.
    let error = (a.stdev.powi(2) / a.count as f64 + b.stdev.powi(2) / b.count as f64).sqrt();
    Some(Interval::around(b.avg - a.avg, interval::Z95 * error).relative_to(a.avg))
}

fn quantile_change(a: &Times, b: &Times, quantile: f64) -> Option<Interval> {
    let (a, b) = (quantile_interval(&a.histogram, quantile)?, quantile_interval(&b.histogram, quantile)?);
    (a.low > 0.0)
        .then(|| Interval { low: 100.0 * (b.low / a.high - 1.0), high: 100.0 * (b.high / a.low - 1.0) })
}

fn errors(a: &Report, b: &Report) -> Row {
    let share =
        |report: &Report| 100.0 * report.outcome.failed as f64 / report.outcome.requests.max(1) as f64;
    let (sa, sb) = (share(a), share(b));
    let interval =
        interval::proportions((a.outcome.failed, a.outcome.requests), (b.outcome.failed, b.outcome.requests));
    let verdict = match interval {
        Some(Interval { low, .. }) if low > 0.0 => Verdict::Worse,
        Some(Interval { high, .. }) if high < 0.0 => Verdict::Better,
        _ if a.outcome.failed == 0 && b.outcome.failed == 0 => Verdict::Same,
        _ => Verdict::Unclear,
    };
    // Here the change is in percentage points: most often A has no errors.
    Row { name: "errors %", a: sa, b: sb, change: sb - sa, interval, verdict, is_time: false }
}

fn differences(a: &Report, b: &Report) -> Vec<String> {
    let (a, b) = (&a.setup, &b.setup);
    let mut found = Vec::new();
    let mut check = |what: &str, a: String, b: String| {
        if a != b {
            found.push(format!("{what}: {a} against {b}"));
        }
    };
    check("target", a.target.clone(), b.target.clone());
    check("requests", a.requests.join(", "), b.requests.join(", "));
    check("protocol", a.protocol.clone(), b.protocol.clone());
    check("mode", a.mode.clone(), b.mode.clone());
    check("rate", format!("{:?}", a.rate.map(|rate| rate.0)), format!("{:?}", b.rate.map(|rate| rate.0)));
    check("connections", a.connections.to_string(), b.connections.to_string());
    check("streams", a.streams.to_string(), b.streams.to_string());
    check("threads", a.threads.to_string(), b.threads.to_string());
    check("keep-alive", a.keepalive.to_string(), b.keepalive.to_string());
    found
}

fn verdict(rows: &[Row], a: &Report, b: &Report) -> String {
    if a.is_invalid() || b.is_invalid() {
        return "No verdict: a run was limited by the load generator itself.".to_owned();
    }
    let names = |verdict: Verdict| {
        let named: Vec<&str> = rows.iter().filter(|row| row.verdict == verdict).map(|row| row.name).collect();
        named.join(", ")
    };
    let (better, worse) = (names(Verdict::Better), names(Verdict::Worse));
    match (better.is_empty(), worse.is_empty()) {
        (true, true) => "No difference shown between A and B.".to_owned(),
        (false, true) => format!("B is better: {better}."),
        (true, false) => format!("B is worse: {worse}."),
        (false, false) => format!("Mixed: B is better in {better}, and worse in {worse}."),
    }
}

#[cfg(test)]
mod tests;
