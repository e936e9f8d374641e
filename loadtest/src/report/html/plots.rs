//! The charts of the page.

use std::fmt::{self, Write};

use super::chart::{Chart, Scale};
use crate::report::format::{count, time};
use crate::report::model::{Report, Times};

/// Bars of the distribution.
const BINS: usize = 60;

/// How often which time: equal bins on a logarithmic axis.
pub(super) fn write_distribution(report: &Report, out: &mut String) -> fmt::Result {
    let times = report.headline_times();
    let (Some(&(first, _)), Some(&(last, _))) = (times.histogram.first(), times.histogram.last()) else {
        return Ok(());
    };
    let ms = |nanos: u64| nanos as f64 / 1e6;
    let x = Scale::log_of([ms(first), ms(last)].into_iter());
    let Scale::Log { low, high } = x else { return Ok(()) };
    let edge = |bin: usize| low * (high / low).powf(bin as f64 / BINS as f64);
    let mut bins = [0_u64; BINS];
    for &(nanos, n) in &times.histogram {
        let place = (ms(nanos) / low).ln() / (high / low).ln() * BINS as f64;
        bins[(place.max(0.0) as usize).min(BINS - 1)] += n;
    }
    let share = |n: u64| 100.0 * n as f64 / times.count as f64;
    let y = Scale::from_zero(bins.iter().map(|&n| share(n)));
    let ticks: Vec<_> = x.ticks().into_iter().map(|tick| (tick, axis_time(tick))).collect();
    let mut chart = Chart::new("Distribution of times", x, y, &ticks, |tick| format!("{} %", trim(tick)));
    for (bin, &n) in bins.iter().enumerate().filter(|(_, n)| **n > 0) {
        let title = format!("{} to {}: {}", time(edge(bin)), time(edge(bin + 1)), count(n));
        chart.bar(edge(bin), edge(bin + 1), share(n), &title);
    }
    for (row, (name, value)) in
        [("p50", times.p50), ("p95", times.p95), ("p99", times.p99)].into_iter().enumerate()
    {
        chart.mark(value, row as u32, name);
    }
    let what = if report.is_open() { "response time" } else { "service time" };
    writeln!(out, "<section><h2>Distribution of the {what}</h2>\n{}</section>", chart.finish())
}

/// Time by percentile, with the tail stretched: each step right is a tenth of
/// the requests left.
pub(super) fn write_percentiles(report: &Report, out: &mut String) -> fmt::Result {
    let times = report.headline_times();
    if times.count == 0 {
        return Ok(());
    }
    // Left of (1 − q): from half of the requests to one of all.
    let deepest = (times.count as f64).max(20.0);
    let x = Scale::Log { low: 1.0, high: deepest };
    let y = Scale::log_of([times.min, times.max, report.service_time.min].into_iter());
    let names = [
        (10.0, "90 %"),
        (100.0, "99 %"),
        (1e3, "99.9 %"),
        (1e4, "99.99 %"),
        (1e5, "99.999 %"),
        (1e6, "99.9999 %"),
    ];
    let mut ticks = vec![(2.0, "50 %".to_owned())];
    ticks.extend(names.into_iter().filter(|(at, _)| *at <= deepest).map(|(at, text)| (at, text.to_owned())));
    let mut chart = Chart::new("Time by percentile", x, y, &ticks, axis_time);
    if report.is_open() {
        chart.line("two", curve(&report.service_time).into_iter());
    }
    chart.line("one", curve(times).into_iter());
    let key = if report.is_open() {
        "<p class=\"key\"><i></i>response time<i class=\"second\"></i>service time</p>"
    } else {
        "<p class=\"key\"><i></i>service time</p>"
    };
    writeln!(out, "<section><h2>Time by percentile</h2>\n{}{key}</section>", chart.finish())
}

/// (one in how many, milliseconds), a few hundred points at most.
fn curve(times: &Times) -> Vec<(f64, f64)> {
    let mut points: Vec<(f64, f64)> = Vec::new();
    let mut seen = 0;
    for &(nanos, n) in &times.histogram {
        let left = times.count - seen;
        seen += n;
        let point = (times.count as f64 / left as f64, nanos as f64 / 1e6);
        let apart = points.last().is_none_or(|last| point.0 > last.0 * 1.02);
        if apart || seen == times.count {
            points.push(point);
        }
    }
    points
}

pub(super) fn write_over_time(report: &Report, out: &mut String) -> fmt::Result {
    let points: Vec<_> = report
        .series
        .points
        .iter()
        .filter(|point| point.seconds >= 0.5 * report.series.seconds_per_point)
        .collect();
    if points.len() < 2 {
        return Ok(());
    }
    let end = points.last().map_or(1.0, |point| point.at + point.seconds);
    let x = Scale::Linear { low: 0.0, high: end };
    let ticks: Vec<_> = x.ticks().into_iter().map(|tick| (tick, format!("{} s", trim(tick)))).collect();
    let per_second = |n: u64, over: f64| n as f64 / over;

    let y = Scale::from_zero(points.iter().map(|point| per_second(point.answered, point.seconds)));
    let mut chart = Chart::new("Throughput over time", x, y, &ticks, |tick| count(tick.round() as u64));
    chart.line("one", points.iter().map(|p| (p.at + p.seconds / 2.0, per_second(p.answered, p.seconds))));
    let failing = points.iter().any(|point| point.errors > 0);
    if failing {
        chart.line("two", points.iter().map(|p| (p.at + p.seconds / 2.0, per_second(p.errors, p.seconds))));
    }
    let errors = if failing { "<i class=\"second\"></i>errors/s" } else { "" };
    writeln!(
        out,
        "<section><h2>Throughput over time</h2>\n{}<p class=\"key\"><i></i>requests/s{errors}</p></section>",
        chart.finish()
    )?;

    let timed = || points.iter().filter(|point| point.p50 > 0.0);
    let y = Scale::log_of(timed().flat_map(|point| [point.p50, point.p99]));
    let mut chart = Chart::new("Times over time", x, y, &ticks, axis_time);
    chart.line("two", timed().map(|point| (point.at + point.seconds / 2.0, point.p99)));
    chart.line("one", timed().map(|point| (point.at + point.seconds / 2.0, point.p50)));
    writeln!(
        out,
        "<section><h2>{} over time</h2>\n{}<p class=\"key\"><i></i>p50<i class=\"second\"></i>p99</p></section>",
        if report.is_open() { "Response time" } else { "Service time" },
        chart.finish()
    )
}

/// `1 ms`, not `1.00 ms`.
fn axis_time(ms: f64) -> String {
    match ms {
        _ if ms < 0.999 => format!("{} µs", trim(ms * 1e3)),
        _ if ms < 999.0 => format!("{} ms", trim(ms)),
        _ => format!("{} s", trim(ms / 1e3)),
    }
}

/// At most two decimals, and no zeros at their end.
fn trim(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
