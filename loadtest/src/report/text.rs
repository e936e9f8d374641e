//! The report as text, for a terminal or a log.

use std::fmt::{self, Display, Write};

use shared_balance_stats::Balance;

use super::CONFIDENT;
use super::format::{bytes, count, plural, rate, seconds, time};
use super::model::{Report, Times, WorkerRow};
use crate::client::failure::ErrorClass;

const BAR: usize = 24;

/// Colours, or none of them.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    pub color: bool,
}

impl Style {
    fn paint(self, code: &str, text: impl Display) -> String {
        let text = text.to_string();
        if self.color && !text.is_empty() { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text }
    }

    fn bold(self, text: impl Display) -> String {
        self.paint("1", text)
    }

    fn dim(self, text: impl Display) -> String {
        self.paint("2", text)
    }

    fn good(self, text: impl Display) -> String {
        self.paint("32", text)
    }

    fn bad(self, text: impl Display) -> String {
        self.paint("31", text)
    }
}

/// The whole report, ending in a line end.
pub fn render(report: &Report, style: Style) -> String {
    let mut out = String::new();
    write_all(report, style, &mut out).expect("writing to a string cannot fail");
    out
}

fn write_all(report: &Report, style: Style, out: &mut String) -> fmt::Result {
    write_head(report, style, out)?;
    write_times(report, style, out)?;
    write_throughput(report, style, out)?;
    write_errors(report, style, out)?;
    write_mix(report, style, out)?;
    write_workers(report, style, out)?;
    write_client(report, style, out)?;
    write_thresholds(report, style, out)?;
    if !report.notes.is_empty() {
        writeln!(out, "\n{}", style.bold("Notes"))?;
        report.notes.iter().try_for_each(|note| writeln!(out, "  {note}"))?;
    }
    if let Some(limit) = &report.client.limited_by {
        writeln!(out, "\n{} {limit}.", style.bad("Client-limited, not valid:"))?;
    }
    Ok(())
}

fn write_head(report: &Report, style: Style, out: &mut String) -> fmt::Result {
    let setup = &report.setup;
    let interrupted = if report.outcome.interrupted { " (interrupted: the report so far)" } else { "" };
    writeln!(out, "{}{interrupted}", style.bold(format_args!("Load test of {}", setup.target)))?;
    writeln!(out, "  {}", setup.requests.join(", "))?;
    let mode = match (setup.mode.as_str(), setup.rate) {
        ("open", Some((rate, _))) => format!("open loop at {} requests/s", super::format::rate(rate)),
        (_, Some((from, to))) => format!("open loop from {} to {} requests/s", rate(from), rate(to)),
        _ => "closed loop".to_owned(),
    };
    let streams = if setup.streams > 1 { format!(" × {} streams", setup.streams) } else { String::new() };
    let connections = plural(setup.connections as u64, "connection");
    let kept = if setup.keepalive { "" } else { ", a new one per request" };
    let threads = plural(setup.threads as u64, "thread");
    writeln!(out, "  {}, {mode}, {connections}{streams}{kept}, {threads}", setup.protocol)
}

fn write_times(report: &Report, style: Style, out: &mut String) -> fmt::Result {
    let service = &report.service_time;
    let what = match &report.response_time {
        Some(_) => "response time: from when each request was due; service time: from when it was sent",
        None if report.setup.keepalive => "from sending to the last byte of the answer",
        None => "from connecting to the last byte of the answer",
    };
    writeln!(out, "\n{}  {}", style.bold("Response time"), style.dim(what))?;
    if service.count == 0 {
        return writeln!(out, "  no request was answered");
    }
    if report.is_open() {
        writeln!(out, "  {:5} {:>11} {:>11}", "", "response", "service")?;
    }
    type Column = (&'static str, fn(&Times) -> f64);
    let columns: [Column; 8] = [
        ("avg", |times| times.avg),
        ("min", |times| times.min),
        ("max", |times| times.max),
        ("p50", |times| times.p50),
        ("p90", |times| times.p90),
        ("p95", |times| times.p95),
        ("p99", |times| times.p99),
        ("p99.9", |times| times.p999),
    ];
    for (name, of) in columns {
        // One value in a thousand says nothing about fewer than a thousand.
        let unsure = service.count < CONFIDENT;
        if name == "p99.9" && unsure {
            continue;
        }
        write!(out, "  {name:5}")?;
        if let Some(response) = &report.response_time {
            write!(out, " {:>11}", time(of(response)))?;
        }
        write!(out, " {:>11}", time(of(service)))?;
        let mark =
            if name == "p99" && unsure { format!("  (of {} values)", service.count) } else { String::new() };
        writeln!(out, "{}", style.dim(mark))?;
    }
    if let Some(connect) = &report.connect_time {
        let line = format!(
            "connect: p50 {}, p99 {}, {}",
            time(connect.p50),
            time(connect.p99),
            plural(connect.count, "connection")
        );
        writeln!(out, "  {}", style.dim(line))?;
    }
    if let Some(tls) = &report.tls {
        let (full, resumed) = (plural(tls.handshakes.full, "full handshake"), count(tls.handshakes.resumed));
        writeln!(out, "  {}", style.dim(format_args!("{}: {full}, {resumed} resumed", tls.security)))?;
    }
    Ok(())
}

fn write_throughput(report: &Report, style: Style, out: &mut String) -> fmt::Result {
    let outcome = &report.outcome;
    writeln!(out, "\n{}", style.bold("Throughput"))?;
    let per_second = style.bold(rate(outcome.requests_per_second));
    let answered = plural(outcome.answered, "request");
    let volume = bytes(outcome.bytes as f64 / outcome.seconds.max(1e-9));
    writeln!(
        out,
        "  {per_second} requests/s  ({answered} answered in {}, {volume}/s)",
        seconds(outcome.seconds)
    )?;
    if let Some(achieved) = &report.client.achieved {
        let (sent, due, ratio) = (count(achieved.sent), count(achieved.due), 100.0 * achieved.ratio);
        write!(out, "  {sent} of {due} due requests sent ({ratio:.1} %)")?;
        if achieved.sent_late > 0 {
            write!(out, ", {} of them late because every connection was busy", count(achieved.sent_late))?;
        }
        writeln!(out)?;
    }
    if outcome.retried > 0 {
        let again = plural(outcome.retried, "request");
        let why = "the server had closed their connection between requests without saying so";
        writeln!(out, "  {again} sent again: {why}")?;
    }
    if outcome.in_flight > 0 {
        let left = plural(outcome.in_flight, "request");
        writeln!(out, "  {}", style.dim(format_args!("{left} still open at the end, not counted")))?;
    }
    Ok(())
}

fn write_errors(report: &Report, style: Style, out: &mut String) -> fmt::Result {
    let outcome = &report.outcome;
    if outcome.failed == 0 {
        return Ok(());
    }
    let share = 100.0 * outcome.failed as f64 / outcome.requests.max(1) as f64;
    let failed = plural(outcome.failed, "failed request");
    writeln!(out, "\n{}  {share:.2} % of {}", style.bad(failed), count(outcome.requests))?;
    for row in &report.errors {
        write!(out, "  {:>9}  {}", count(row.count), row.class.label())?;
        match row.class {
            // The statuses stand below, one by one.
            ErrorClass::Status4xx | ErrorClass::Status5xx => writeln!(out)?,
            _ => writeln!(out, ": {}", row.example)?,
        }
    }
    let statuses: Vec<String> =
        report.statuses.iter().map(|(status, n)| format!("{status}: {}", count(*n))).collect();
    if !statuses.is_empty() {
        writeln!(out, "  {}", style.dim(format_args!("statuses  {}", statuses.join("  "))))?;
    }
    Ok(())
}

fn write_mix(report: &Report, style: Style, out: &mut String) -> fmt::Result {
    if report.mix.is_empty() {
        return Ok(());
    }
    let width = report.mix.iter().map(|row| row.request.chars().count()).max().unwrap_or_default();
    writeln!(out, "\n{}", style.bold("Requests"))?;
    for row in &report.mix {
        writeln!(
            out,
            "  {:width$}  {:>9}  p50 {:>8}  p95 {:>8}  p99 {:>8}  errors {}",
            row.request,
            count(row.answered),
            time(row.times.p50),
            time(row.times.p95),
            time(row.times.p99),
            count(row.errors)
        )?;
    }
    Ok(())
}

fn write_workers(report: &Report, style: Style, out: &mut String) -> fmt::Result {
    let Some(balance) = &report.balance else {
        if report.unnamed_responses > 0 {
            writeln!(out, "\n{}", style.bold("Worker distribution"))?;
            let hint = "no response names its worker (header x-worker-id; --worker-json PATH finds it in JSON bodies)";
            writeln!(out, "  {hint}")?;
        }
        return Ok(());
    };
    writeln!(out, "\n{}", style.bold("Worker distribution"))?;
    let width = report.workers.iter().map(|row| row.id.chars().count()).max().unwrap_or(1).max(6);
    let head = format!(
        "  {:width$} {:>10} {:>8} {:BAR$}  {:>8} {:>8} {:>8} {:>6} {:>6}",
        "worker", "requests", "share", "", "p50", "p95", "p99", "conns", "errors"
    );
    writeln!(out, "{}", style.dim(head))?;
    let most = report.workers.iter().map(|row| row.share).fold(0.0, f64::max);
    for row in &report.workers {
        writeln!(out, "{}", worker_line(row, most, width, style))?;
    }
    if report.unnamed_responses > 0 {
        writeln!(out, "  {} name no worker", plural(report.unnamed_responses, "response"))?;
    }
    writeln!(out, "\n{}", style.bold("Balance analysis"))?;
    writeln!(out, "  {}", balance.analysis)?;
    let figures = |name: &str, balance: &Balance| {
        let ratio = balance.max_over_min.map_or("∞".to_owned(), |ratio| format!("{ratio:.3}"));
        format!(
            "{name}: χ² {:.2} ({} df), p {}, CV {:.4}, Jain {:.4}, max/min {ratio}",
            balance.chi_square,
            balance.degrees,
            crate::balance::p_text(balance.p_value),
            balance.cv,
            balance.jain
        )
    };
    if balance.requests.workers > 1 {
        writeln!(out, "  {}", style.dim(figures("requests", &balance.requests)))?;
        if let Some(connections) = &balance.connections {
            writeln!(out, "  {}", style.dim(figures("connections", connections)))?;
        }
    }
    Ok(())
}

fn worker_line(row: &WorkerRow, most: f64, width: usize, style: Style) -> String {
    let filled = if most > 0.0 { (row.share / most * BAR as f64).round() as usize } else { 0 };
    let bar = style.paint("36", "█".repeat(filled)) + &style.dim("░".repeat(BAR - filled));
    let errors = count(row.errors);
    format!(
        "  {:width$} {:>10} {:>6.1} % {bar}  {:>8} {:>8} {:>8} {:>6} {}",
        row.id,
        count(row.requests),
        100.0 * row.share,
        time(row.times.p50),
        time(row.times.p95),
        time(row.times.p99),
        count(row.connections),
        if row.errors > 0 { style.bad(format_args!("{errors:>6}")) } else { format!("{errors:>6}") },
    )
}

fn write_client(report: &Report, style: Style, out: &mut String) -> fmt::Result {
    let client = &report.client;
    if report.outcome.seconds < 0.1 || client.cpu.is_empty() {
        return Ok(());
    }
    let mean = |shares: &[f64]| 100.0 * shares.iter().sum::<f64>() / shares.len() as f64;
    let mut line = format!(
        "load generator: CPU {:.0} % of {}, waiting for a core {:.0} %",
        mean(&client.cpu),
        plural(client.cpu.len() as u64, "core"),
        mean(&client.waited)
    );
    if let Some(lag) = client.lag.as_ref().filter(|lag| lag.count > 0) {
        let lag =
            format!(", schedule lag p50 {}, p99 {}, max {}", time(lag.p50), time(lag.p99), time(lag.max));
        line.push_str(&lag);
    }
    writeln!(out, "\n{}", style.dim(line))
}

fn write_thresholds(report: &Report, style: Style, out: &mut String) -> fmt::Result {
    if report.thresholds.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{}", style.bold("Thresholds"))?;
    for threshold in &report.thresholds {
        let mark = if threshold.passed { style.good("✓") } else { style.bad("✗") };
        writeln!(out, "  {mark} {}  (measured: {})", threshold.condition, threshold.actual)?;
    }
    Ok(())
}
