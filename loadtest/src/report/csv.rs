//! How a run went over time, as comma-separated values (RFC 4180).

use std::fmt::Write;

use super::model::Report;

/// A head line, and one line per stretch of time; times in milliseconds.
pub fn render(report: &Report) -> String {
    let mut out = String::from(
        "start_s,length_s,answered,errors,requests_per_s,avg_ms,p50_ms,p95_ms,p99_ms,max_ms\r\n",
    );
    for point in &report.series.points {
        let per_second = if point.seconds > 0.0 { point.answered as f64 / point.seconds } else { 0.0 };
        write!(
            out,
            "{:.1},{:.3},{},{},{:.1},{:.4},{:.4},{:.4},{:.4},{:.4}\r\n",
            point.at,
            point.seconds,
            point.answered,
            point.errors,
            per_second,
            point.avg,
            point.p50,
            point.p95,
            point.p99,
            point.max
        )
        .expect("writing to a string cannot fail");
    }
    out
}
