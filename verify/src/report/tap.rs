//! Test Anything Protocol, version 14 (testanything.org).

use std::io::{self, Write};
use std::time::Duration;

use super::{Record, Reporter, Subject, Summary};
use crate::checks::Check;
use crate::verdict::Outcome;

pub(super) struct Tap {
    out: Box<dyn Write>,
    number: usize,
}

impl Tap {
    pub(super) fn new(out: Box<dyn Write>) -> Self {
        Self { out, number: 0 }
    }

    fn field(&mut self, name: &str, text: &str) -> io::Result<()> {
        writeln!(self.out, "  {name}: {}", quoted(text))
    }
}

/// A JSON string is a YAML string, too.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// `#` begins a directive.
fn plain(text: &str) -> String {
    text.replace('\\', "\\\\").replace('#', "\\#").replace(['\n', '\r'], " ")
}

impl Reporter for Tap {
    fn begin(&mut self, subject: &Subject) -> io::Result<()> {
        writeln!(self.out, "TAP version 14")?;
        writeln!(self.out, "1..{}", subject.checks)?;
        writeln!(self.out, "# {}: {}", subject.url, subject.description)?;
        self.out.flush()
    }

    fn started(&mut self, _: &'static Check) -> io::Result<()> {
        Ok(())
    }

    fn waiting(&mut self, _: &'static Check, _: Duration) -> io::Result<()> {
        Ok(())
    }

    fn finished(&mut self, record: &Record) -> io::Result<()> {
        self.number += 1;
        let verdict = &record.verdict;
        let (ok, directive) = match (verdict.outcome, &verdict.reason) {
            (Outcome::Passed, _) => ("ok", String::new()),
            (Outcome::Failed, _) => ("not ok", String::new()),
            // A thing that is not known to work is not "ok".
            (Outcome::Inconclusive, reason) => {
                ("not ok", format!(" # TODO inconclusive: {}", plain(reason.as_deref().unwrap_or_default())))
            }
            (Outcome::NotApplicable, reason) => {
                ("ok", format!(" # SKIP {}", plain(reason.as_deref().unwrap_or_default())))
            }
        };
        writeln!(self.out, "{ok} {} - {}{directive}", self.number, record.check.name)?;
        writeln!(self.out, "  ---")?;
        self.field("proves", record.check.proves)?;
        if verdict.reason.is_none() {
            self.field("observed", &verdict.figure)?;
            self.field("expected", &verdict.threshold)?;
            writeln!(self.out, "  samples: {}", verdict.samples)?;
        }
        writeln!(self.out, "  seconds: {:.3}", record.took.as_secs_f64())?;
        if !verdict.evidence.is_empty() {
            writeln!(self.out, "  evidence:")?;
            for line in &verdict.evidence {
                writeln!(self.out, "    - {}", quoted(line))?;
            }
        }
        if matches!(verdict.outcome, Outcome::Failed | Outcome::Inconclusive) {
            self.field("again", &record.again)?;
        }
        writeln!(self.out, "  ...")?;
        self.out.flush()
    }

    fn end(&mut self, _: &[Record], summary: &Summary) -> io::Result<()> {
        if let Some(interrupted) = summary.interrupted {
            writeln!(self.out, "Bail out! {interrupted}")?;
        }
        writeln!(self.out, "# {}", summary.line())?;
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::written;
    use super::*;

    #[test]
    fn each_outcome_has_its_line() {
        let text = written(|out| Box::new(Tap::new(out)));
        assert!(
            text.starts_with("TAP version 14\n1..4\n# http://h:1: 4 workers\nok 1 - availability\n  ---\n")
        );
        assert!(text.contains("\nnot ok 2 - coverage\n"), "{text}");
        assert!(text.contains("  observed: \"3 of 4 <\\\"&>\"\n"), "{text}");
        assert!(text.contains("  evidence:\n    - \"worker 4: 0\"\n  again: \"verify --only x\"\n  ...\n"));
        assert!(text.contains("\nnot ok 3 - balance # TODO inconclusive: one worker only\n"));
        assert!(text.contains("\nok 4 - round-robin # SKIP no Redis\n"));
        assert!(text.ends_with("# 1 passed, 1 failed, 1 inconclusive\n"));
        assert_eq!(plain("a # b\nc"), "a \\# b c");
    }
}
