//! What a check has found.

use serde::Serialize;

use crate::client::ClientError;

/// The result of a check that may end early, with `?`, in a verdict.
pub type Judged = Result<Verdict, Verdict>;

/// Evidence beyond so many lines is counted, not shown.
const EVIDENCE_LINES: usize = 12;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Passed,
    Failed,
    /// There is not enough evidence for either.
    Inconclusive,
    /// The check asks for something that this cluster does not claim to have.
    NotApplicable,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    pub outcome: Outcome,
    /// What was measured, in words.
    pub figure: String,
    /// What it was measured against, in words.
    pub threshold: String,
    /// How many observations the figure rests on.
    pub samples: usize,
    /// Why nothing was decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What a failure rests on: who answered, and what.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<String>,
}

impl Verdict {
    /// Passed when `passed`; `evidence` is shown otherwise.
    pub fn judge(
        passed: bool,
        figure: impl Into<String>,
        threshold: impl Into<String>,
        samples: usize,
        evidence: Vec<String>,
    ) -> Self {
        let outcome = if passed { Outcome::Passed } else { Outcome::Failed };
        let mut evidence = if passed { Vec::new() } else { evidence };
        if evidence.len() > EVIDENCE_LINES {
            let more = evidence.len() - EVIDENCE_LINES;
            evidence.truncate(EVIDENCE_LINES);
            evidence.push(format!("… and {more} more"));
        }
        Self { outcome, figure: figure.into(), threshold: threshold.into(), samples, reason: None, evidence }
    }

    pub fn failed(figure: impl Into<String>, threshold: impl Into<String>, evidence: Vec<String>) -> Self {
        Self::judge(false, figure, threshold, 1, evidence)
    }

    pub fn inconclusive(reason: impl Into<String>) -> Self {
        Self::undecided(Outcome::Inconclusive, reason)
    }

    pub fn not_applicable(reason: impl Into<String>) -> Self {
        Self::undecided(Outcome::NotApplicable, reason)
    }

    fn undecided(outcome: Outcome, reason: impl Into<String>) -> Self {
        Self {
            outcome,
            figure: String::new(),
            threshold: String::new(),
            samples: 0,
            reason: Some(reason.into()),
            evidence: Vec::new(),
        }
    }

    /// The verdict in one line.
    pub fn line(&self) -> String {
        match &self.reason {
            Some(reason) => reason.clone(),
            None => format!("{} ({}, N = {})", self.figure, self.threshold, self.samples),
        }
    }
}

/// A request that was not answered at all fails the check that needed it.
impl From<ClientError> for Verdict {
    fn from(err: ClientError) -> Self {
        Self::failed(err.to_string(), "an answer to every request", Vec::new())
    }
}

/// Percentages and times as a line has room for.
pub fn percent(ratio: f64) -> String {
    format!("{:.1} %", ratio * 100.0)
}

pub fn seconds(time: std::time::Duration) -> String {
    match time.as_secs_f64() {
        seconds if seconds < 1.0 => format!("{:.1} ms", seconds * 1000.0),
        seconds => format!("{seconds:.2} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_is_for_failures_and_bounded() {
        let lines = vec!["line".to_owned(); 20];
        assert!(Verdict::judge(true, "f", "t", 1, lines.clone()).evidence.is_empty());
        let failed = Verdict::judge(false, "f", "t", 1, lines);
        assert_eq!(failed.evidence.len(), EVIDENCE_LINES + 1);
        assert_eq!(failed.evidence.last().map(String::as_str), Some("… and 8 more"));
        assert_eq!(failed.line(), "f (t, N = 1)");
        assert_eq!(Verdict::inconclusive("why").line(), "why");
    }
}
