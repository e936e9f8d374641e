//! The highest rate that still meets the conditions: doubling, then bisection.
//!
//! Each step is an open-loop run, because a closed loop slows down with the
//! target and so never shows a limit.

use std::sync::Arc;

use crate::client::Progress;
use crate::plan::condition::Condition;
use crate::plan::{Load, Plan};
use crate::report::format;
use crate::report::model::Report;
use crate::session::{Session, SessionError};

/// Requests per second of the first step: enough for a percentile to rest on.
const FIRST: f64 = 1_000.0;
/// Nobody gets further on one machine.
const LAST: f64 = 1_000_000.0;
/// The search ends when what held and what did not are this close.
const CLOSE: f64 = 1.05;
/// A step that sends less of what is due than this has not held its rate.
const ACHIEVED: f64 = 0.95;
/// A rate is given up when it has failed this often: a single hiccup of the
/// machine must not end the search.
const TRIES: u32 = 2;

/// What a step at `rate` came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub rate: f64,
    pub held: bool,
    /// Why not, or what was measured.
    pub detail: String,
}

/// The rates still to be tried; pure, so that it can be tested without load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Search {
    /// The highest rate that held.
    pub best: Option<f64>,
    /// The lowest rate that did not.
    pub failed: Option<f64>,
}

impl Search {
    pub fn new() -> Self {
        Self { best: None, failed: None }
    }

    /// The next rate to try; `None` when the search is over.
    pub fn next(&self) -> Option<f64> {
        match (self.best, self.failed) {
            (None, None) => Some(FIRST),
            (Some(best), None) => (best < LAST).then_some((best * 2.0).min(LAST)),
            // Not even the first rate held: go down.
            (None, Some(failed)) => (failed > 1.0).then_some((failed / 4.0).max(1.0)),
            // The middle by ratio, as rates are a matter of ratios.
            (Some(best), Some(failed)) => (failed / best > CLOSE).then(|| round((best * failed).sqrt())),
        }
    }

    pub fn record(&mut self, rate: f64, held: bool) {
        if held {
            self.best = Some(self.best.map_or(rate, |best| best.max(rate)));
        } else {
            self.failed = Some(self.failed.map_or(rate, |failed| failed.min(rate)));
        }
    }
}

impl Default for Search {
    fn default() -> Self {
        Self::new()
    }
}

/// Three digits are plenty.
fn round(rate: f64) -> f64 {
    let unit = 10_f64.powf(rate.log10().floor() - 2.0);
    (rate / unit).round() * unit
}

/// What the search found.
#[derive(Debug)]
pub struct Found {
    pub steps: Vec<Step>,
    pub search: Search,
    /// Of the best step; of the last one when none held.
    pub report: Report,
    /// The load generator, not the target, ended the search.
    pub limited: bool,
}

/// Searches, telling each step to `on_step`.
///
/// # Errors
/// When the load generator itself fails.
pub async fn find(
    session: &Session,
    plan: &Plan,
    conditions: &[Condition],
    on_progress: &mut dyn FnMut(&Progress),
    on_step: &mut dyn FnMut(&Step),
) -> Result<Found, SessionError> {
    let mut search = Search::new();
    let mut steps = Vec::new();
    let mut best: Option<Report> = None;
    let mut last: Option<Report> = None;
    let mut limited = false;
    'search: while let Some(rate) = search.next() {
        let step_plan = Arc::new(Plan { load: Load::Open { from: rate, to: rate }, ..plan.clone() });
        let mut held = false;
        for _ in 0..TRIES {
            let report = session.run(&step_plan, conditions, on_progress).await?;
            if session.is_stopped() {
                last = Some(report);
                break 'search;
            }
            let step = judge(rate, &report);
            on_step(&step);
            held = step.held;
            steps.push(step);
            if held {
                best = Some(report);
                break;
            }
            limited = report.is_invalid();
            last = Some(report);
        }
        search.record(rate, held);
    }
    let report = best.or(last).expect("the search begins with a rate, so there was a step");
    Ok(Found { steps, search, report, limited })
}

fn judge(rate: f64, report: &Report) -> Step {
    let missed: Vec<String> = report
        .thresholds
        .iter()
        .filter(|threshold| !threshold.passed)
        .map(|threshold| format!("{} was {}", threshold.condition, threshold.actual))
        .collect();
    let ratio = report.client.achieved.as_ref().map_or(1.0, |achieved| achieved.ratio);
    let (held, detail) = if let Some(limit) = &report.client.limited_by {
        (false, format!("client-limited: {limit}"))
    } else if !missed.is_empty() {
        (false, missed.join(", "))
    } else if ratio < ACHIEVED {
        (false, format!("only {:.1} % of the requests due could be sent", 100.0 * ratio))
    } else {
        let measured: Vec<String> = report
            .thresholds
            .iter()
            .map(|threshold| format!("{} was {}", threshold.condition, threshold.actual))
            .collect();
        (true, measured.join(", "))
    };
    Step { rate, held, detail }
}

/// One line per step.
pub fn step_line(step: &Step) -> String {
    let mark = if step.held { "✓" } else { "✗" };
    format!("  {mark} {:>9} requests/s  {}", format::rate(step.rate), step.detail)
}

/// The result in a sentence.
pub fn conclusion(found: &Found, conditions: &str) -> String {
    match (found.search.best, found.search.failed) {
        (Some(best), Some(failed)) => {
            let beyond = format::rate(failed);
            let by = if found.limited { " (there the load generator itself was the limit)" } else { "" };
            format!("{} requests/s keep {conditions}; {beyond} do not{by}.", format::rate(best))
        }
        (Some(best), None) => {
            format!("{} requests/s keep {conditions}; higher rates were not tried.", format::rate(best))
        }
        (None, Some(failed)) => {
            format!("Not even {} requests/s keep {conditions}.", format::rate(failed))
        }
        (None, None) => "Stopped before the first step was over.".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches a target that holds everything up to `limit`.
    fn search(limit: f64) -> (Search, u32) {
        let mut search = Search::new();
        let mut steps = 0;
        while let Some(rate) = search.next() {
            search.record(rate, rate <= limit);
            steps += 1;
            assert!(steps < 64, "the search does not end for {limit}");
        }
        (search, steps)
    }

    #[test]
    fn the_limit_is_found_within_its_tolerance() {
        for limit in [1.0, 7.0, 99.0, 999.0, 1_000.0, 1_001.0, 1_234.0, 40_000.0, 999_999.0] {
            let (search, steps) = search(limit);
            let best = search.best.unwrap();
            assert!(best <= limit && best * CLOSE * 1.02 >= limit, "{best} for {limit}");
            assert!(steps < 25, "{steps} steps for {limit}");
        }
    }

    #[test]
    fn there_may_be_no_limit_or_nothing_that_holds() {
        assert_eq!(search(f64::INFINITY).0, Search { best: Some(LAST), failed: None });
        assert_eq!(search(0.0).0, Search { best: None, failed: Some(1.0) });
    }
}
