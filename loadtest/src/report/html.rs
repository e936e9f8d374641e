//! The report as one HTML file: no script, nothing loaded from anywhere.

mod chart;
mod plots;

use std::fmt::{self, Write};

use super::format::{bytes, count, plural, rate, seconds, time};
use super::model::Report;
use crate::balance::p_text;
use crate::client::failure::ErrorClass;

const STYLE: &str = include_str!("html/style.css");

/// The whole page.
pub fn render(report: &Report) -> String {
    let mut out = String::new();
    write_page(report, &mut out).expect("writing to a string cannot fail");
    out
}

fn write_page(report: &Report, out: &mut String) -> fmt::Result {
    let setup = &report.setup;
    write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <link rel=\"icon\" href=\"data:,\">\n<title>Load test of {0}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <header><h1>Load test of {0}</h1>\n<p>{1}</p>\n<p class=\"muted\">{2}</p></header>\n",
        escape(&setup.target),
        escape(&setup.requests.join(", ")),
        escape(&subtitle(report))
    )?;
    if let Some(limit) = &report.client.limited_by {
        writeln!(out, "<p class=\"bad\"><b>Client-limited, not valid:</b> {}.</p>", escape(limit))?;
    }
    write_tiles(report, out)?;
    out.push_str("<div class=\"grid\">\n");
    write_workers(report, out)?;
    plots::write_distribution(report, out)?;
    plots::write_percentiles(report, out)?;
    plots::write_over_time(report, out)?;
    write_times(report, out)?;
    write_errors(report, out)?;
    write_mix(report, out)?;
    write_thresholds(report, out)?;
    write_client(report, out)?;
    out.push_str("</div>\n</body>\n</html>\n");
    Ok(())
}

fn subtitle(report: &Report) -> String {
    let setup = &report.setup;
    let mode = match setup.rate {
        Some((from, to)) if from == to => format!("open loop at {} requests/s", rate(from)),
        Some((from, to)) => format!("open loop from {} to {} requests/s", rate(from), rate(to)),
        None => "closed loop".to_owned(),
    };
    let interrupted = if report.outcome.interrupted { ", interrupted" } else { "" };
    format!(
        "{} · {mode} · {} · {} · {} · {}{interrupted}",
        setup.protocol,
        plural(setup.connections as u64, "connection"),
        plural(setup.threads as u64, "thread"),
        seconds(report.outcome.seconds),
        report.started
    )
}

fn write_tiles(report: &Report, out: &mut String) -> fmt::Result {
    let times = report.headline_times();
    let failed = report.outcome.failed;
    let class = if failed > 0 { " class=\"bad\"" } else { "" };
    out.push_str("<div class=\"tiles\">\n");
    for (name, value) in [
        ("requests/s", rate(report.outcome.requests_per_second)),
        ("requests", count(report.outcome.requests)),
        ("p50", time(times.p50)),
        ("p95", time(times.p95)),
        ("p99", time(times.p99)),
        ("max", time(times.max)),
    ] {
        writeln!(out, "<div class=\"tile\"><b>{value}</b><span class=\"muted\">{name}</span></div>")?;
    }
    writeln!(
        out,
        "<div class=\"tile\"><b{class}>{}</b><span class=\"muted\">failed</span></div>",
        count(failed)
    )?;
    out.push_str("</div>\n");
    Ok(())
}

fn write_workers(report: &Report, out: &mut String) -> fmt::Result {
    let Some(balance) = &report.balance else { return Ok(()) };
    out.push_str(
        "<section class=\"wide\"><h2>Workers</h2>\n<div class=\"scroll\"><table>\n<tr><th>worker</th><th></th><th>share</th>\
         <th>requests</th><th>connections</th><th>p50</th><th>p95</th><th>p99</th><th>errors</th></tr>\n",
    );
    let most = report.workers.iter().map(|row| row.share).fold(f64::MIN_POSITIVE, f64::max);
    for row in &report.workers {
        writeln!(
            out,
            "<tr><td>{}</td><td class=\"bar\"><span style=\"width:{:.1}%\"></span></td><td>{:.1} %</td><td>{}</td>\
             <td>{}</td><td>{}</td><td>{}</td><td>{}</td><td{}>{}</td></tr>",
            escape(&row.id),
            100.0 * row.share / most,
            100.0 * row.share,
            count(row.requests),
            count(row.connections),
            time(row.times.p50),
            time(row.times.p95),
            time(row.times.p99),
            if row.errors > 0 { " class=\"bad\"" } else { "" },
            count(row.errors)
        )?;
    }
    writeln!(out, "</table></div>\n<p>{}</p>", escape(&balance.analysis))?;
    let figures = &balance.requests;
    if figures.workers == 1 {
        return writeln!(out, "</section>");
    }
    writeln!(
        out,
        "<p class=\"muted\">χ² {:.2} with {} degrees of freedom, p {} · CV {:.4} · Jain {:.4}{}</p></section>",
        figures.chi_square,
        figures.degrees,
        escape(&p_text(figures.p_value)),
        figures.cv,
        figures.jain,
        figures.max_over_min.map_or(String::new(), |ratio| format!(" · max/min {ratio:.3}"))
    )
}

fn write_times(report: &Report, out: &mut String) -> fmt::Result {
    out.push_str(
        "<section class=\"wide\"><h2>Times</h2>\n<div class=\"scroll\"><table>\n<tr><th></th><th>count</th><th>avg</th>\
         <th>min</th><th>p50</th><th>p90</th><th>p95</th><th>p99</th><th>p99.9</th><th>max</th></tr>\n",
    );
    let rows = [
        ("response, from when it was due", report.response_time.as_ref()),
        ("service, from when it was sent", Some(&report.service_time)),
        ("connect", report.connect_time.as_ref()),
    ];
    for (name, times) in rows.into_iter().filter_map(|(name, times)| Some((name, times?))) {
        write!(out, "<tr><td>{name}</td><td>{}</td>", count(times.count))?;
        for value in [times.avg, times.min, times.p50, times.p90, times.p95, times.p99, times.p999, times.max]
        {
            write!(out, "<td>{}</td>", time(value))?;
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</table></div></section>\n");
    Ok(())
}

fn write_errors(report: &Report, out: &mut String) -> fmt::Result {
    if report.errors.is_empty() {
        return Ok(());
    }
    out.push_str("<section><h2>Failed requests</h2>\n<table>\n");
    for row in &report.errors {
        let example = match row.class {
            ErrorClass::Status4xx | ErrorClass::Status5xx => {
                let of_class = report
                    .statuses
                    .iter()
                    .filter(|(status, _)| ErrorClass::of_status(*status) == Some(row.class));
                of_class.map(|(status, n)| format!("{status}: {}", count(*n))).collect::<Vec<_>>().join(", ")
            }
            _ => row.example.clone(),
        };
        writeln!(
            out,
            "<tr><td class=\"bad\">{}</td><td>{}</td><td class=\"text\">{}</td></tr>",
            row.class.label(),
            count(row.count),
            escape(&example)
        )?;
    }
    out.push_str("</table></section>\n");
    Ok(())
}

fn write_mix(report: &Report, out: &mut String) -> fmt::Result {
    if report.mix.is_empty() {
        return Ok(());
    }
    out.push_str(
        "<section class=\"wide\"><h2>Requests</h2>\n<div class=\"scroll\"><table>\n<tr><th>request</th><th>answered</th><th>p50</th>\
         <th>p95</th><th>p99</th><th>errors</th></tr>\n",
    );
    for row in &report.mix {
        writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(&row.request),
            count(row.answered),
            time(row.times.p50),
            time(row.times.p95),
            time(row.times.p99),
            count(row.errors)
        )?;
    }
    out.push_str("</table></div></section>\n");
    Ok(())
}

fn write_thresholds(report: &Report, out: &mut String) -> fmt::Result {
    if report.thresholds.is_empty() {
        return Ok(());
    }
    out.push_str("<section><h2>Thresholds</h2>\n<table>\n");
    for threshold in &report.thresholds {
        let (class, mark) = if threshold.passed { ("good", "✓") } else { ("bad", "✗") };
        writeln!(
            out,
            "<tr><td class=\"{class}\">{mark} {}</td><td>{}</td></tr>",
            escape(&threshold.condition),
            escape(&threshold.actual)
        )?;
    }
    out.push_str("</table></section>\n");
    Ok(())
}

fn write_client(report: &Report, out: &mut String) -> fmt::Result {
    let client = &report.client;
    let percent = |shares: &[f64]| {
        shares.iter().map(|share| format!("{:.0} %", 100.0 * share)).collect::<Vec<_>>().join(", ")
    };
    write!(
        out,
        "<section><h2>Load generator</h2>\n<p>CPU per thread: {}. Waiting for a core: {}. Received: {}.</p>",
        percent(&client.cpu),
        percent(&client.waited),
        bytes(report.outcome.bytes as f64)
    )?;
    if let Some(lag) = &client.lag {
        write!(
            out,
            "<p>Schedule lag: p50 {}, p99 {}, max {}.</p>",
            time(lag.p50),
            time(lag.p99),
            time(lag.max)
        )?;
    }
    if let Some(achieved) = &client.achieved {
        write!(
            out,
            "<p>{} of {} due requests sent ({:.1} %), {} of them late because every connection was busy.</p>",
            count(achieved.sent),
            count(achieved.due),
            100.0 * achieved.ratio,
            count(achieved.sent_late)
        )?;
    }
    for note in &report.notes {
        write!(out, "<p>{}</p>", escape(note))?;
    }
    writeln!(out, "<p class=\"muted\">loadtest {}</p></section>", escape(&report.version))
}

/// What comes from outside must not become markup.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
