//! A comparison as text.

use std::fmt::Write;

use super::{Comparison, Row, Verdict};
use crate::report::format;

/// The whole comparison, ending in a line end.
pub fn render(comparison: &Comparison) -> String {
    let mut out = format!("{:10} {:>11} {:>11} {:>9}  {:>20}\n", "", "A", "B", "change", "95 % confidence");
    for row in &comparison.rows {
        let value = |value: f64| match (row.is_time, row.name) {
            (true, _) => format::time(value),
            (false, "errors %") => format!("{value:.3}"),
            (false, _) => format::rate(value),
        };
        writeln!(
            out,
            "{:10} {:>11} {:>11} {:>9}  {:>20}  {}",
            row.name,
            value(row.a),
            value(row.b),
            format!("{} {}", signed(row.change), unit(row)),
            interval(row),
            word(row.verdict)
        )
        .expect("writing to a string cannot fail");
    }
    if !comparison.differences.is_empty() {
        out.push_str("\nThe set-ups differ, which may be the reason:\n");
        for difference in &comparison.differences {
            out.push_str("  ");
            out.push_str(difference);
            out.push('\n');
        }
    }
    out.push('\n');
    out.push_str(&comparison.verdict);
    out.push_str(
        "\nThe intervals say what chance within these two runs explains. What changes from run to run on the machine \
         they do not know: alternate A and B a few times before you trust a small difference.\n",
    );
    out
}

/// One decimal, and no sign where nothing is left.
fn signed(value: f64) -> String {
    if value.abs() < 0.05 { "0.0".to_owned() } else { format!("{value:+.1}") }
}

fn unit(row: &Row) -> &'static str {
    if row.name == "errors %" { "pp" } else { "%" }
}

fn interval(row: &Row) -> String {
    match row.interval {
        Some(interval) => format!("{} … {} {}", signed(interval.low), signed(interval.high), unit(row)),
        None => "too few values".to_owned(),
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Better => "better",
        Verdict::Worse => "worse",
        Verdict::Unclear => "unclear",
        Verdict::Same => "same",
    }
}
