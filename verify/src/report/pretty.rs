//! For people: a line per check as it runs.

use std::io::{self, Write};
use std::time::Duration;

use super::{Record, Reporter, Subject, Summary};
use crate::checks::{ALL, Check};
use crate::verdict::Outcome;

const SPINNER: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
/// Back to the first column, and the line is empty.
const CLEAR: &str = "\r\x1b[2K";

pub(super) struct Pretty {
    out: Box<dyn Write>,
    /// Lines may be written anew.
    live: bool,
    colour: bool,
    frame: usize,
    width: usize,
}

impl Pretty {
    pub(super) fn new(out: Box<dyn Write>, live: bool, colour: bool) -> Self {
        let width = ALL.iter().map(|check| check.name.len()).max().unwrap_or(0);
        Self { out, live, colour, frame: 0, width }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        match self.colour {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }

    fn detail(&mut self, label: &str, text: &str) -> io::Result<()> {
        let label = self.paint("2", &format!("{label:>10}"));
        writeln!(self.out, "  {label}  {text}")
    }
}

impl Reporter for Pretty {
    fn begin(&mut self, subject: &Subject) -> io::Result<()> {
        let name = self.paint("1", &subject.url);
        writeln!(self.out, "{name}  {}, {} checks\n", subject.description, subject.checks)
    }

    fn started(&mut self, check: &'static Check) -> io::Result<()> {
        self.waiting(check, Duration::ZERO)
    }

    fn waiting(&mut self, check: &'static Check, elapsed: Duration) -> io::Result<()> {
        if !self.live {
            return Ok(());
        }
        let spinner = self.paint("36", SPINNER[self.frame % SPINNER.len()]);
        self.frame += 1;
        let width = self.width;
        write!(self.out, "{CLEAR}{spinner} {:width$} {:>6.1}s", check.name, elapsed.as_secs_f64())?;
        self.out.flush()
    }

    fn finished(&mut self, record: &Record) -> io::Result<()> {
        let verdict = &record.verdict;
        let (mark, code) = match verdict.outcome {
            Outcome::Passed => ("✓", "32"),
            Outcome::Failed => ("✗", "1;31"),
            Outcome::Inconclusive => ("?", "33"),
            Outcome::NotApplicable => ("-", "2"),
        };
        if self.live {
            write!(self.out, "{CLEAR}")?;
        }
        let width = self.width;
        let name = format!("{:width$}", record.check.name);
        let (mark, name) = (self.paint(code, mark), self.paint(code, &name));
        let line = match (verdict.outcome, &verdict.reason) {
            (Outcome::Inconclusive, Some(reason)) => format!("inconclusive: {reason}"),
            (_, Some(reason)) => format!("not applicable: {reason}"),
            (_, None) => {
                let rest = format!("[{}; N = {}]", verdict.threshold, verdict.samples);
                format!("{}  {}", verdict.figure, self.paint("2", &rest))
            }
        };
        writeln!(self.out, "{mark} {name} {:>6.1}s  {line}", record.took.as_secs_f64())?;
        if verdict.outcome == Outcome::Failed {
            self.detail("proves", &format!("that {}", record.check.proves))?;
            self.detail("expected", &verdict.threshold)?;
            self.detail("observed", &verdict.figure)?;
            for (index, line) in verdict.evidence.iter().enumerate() {
                self.detail(if index == 0 { "evidence" } else { "" }, line)?;
            }
        }
        if matches!(verdict.outcome, Outcome::Failed | Outcome::Inconclusive) {
            self.detail("again", &record.again)?;
        }
        self.out.flush()
    }

    fn end(&mut self, _: &[Record], summary: &Summary) -> io::Result<()> {
        if self.live {
            write!(self.out, "{CLEAR}")?;
        }
        writeln!(self.out)?;
        if summary.interrupted {
            writeln!(self.out, "{}", self.paint("1;33", "interrupted: not all checks have run"))?;
        }
        if summary.not_applicable > 0 {
            writeln!(self.out, "{} not applicable", summary.not_applicable)?;
        }
        writeln!(self.out, "{:.1} s", summary.took.as_secs_f64())?;
        let code = match (summary.failed, summary.exit_code()) {
            (1.., _) => "1;31",
            (_, 0) if !summary.interrupted => "1;32",
            _ => "1;33",
        };
        let line = self.paint(code, &summary.line());
        writeln!(self.out, "{line}")?;
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::written;
    use super::*;

    #[test]
    fn a_pipe_gets_plain_lines() {
        let text = written(|out| Box::new(Pretty::new(out, false, false)));
        assert!(!text.contains('\x1b') && !text.contains('\r'), "{text}");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "http://h:1  4 workers, 4 checks");
        assert!(lines[2].starts_with("✓ availability"), "{text}");
        assert!(lines[2].ends_with("1.5s  100 of 100  [all; N = 100]"), "{text}");
        assert!(lines[3].starts_with("✗ coverage"));
        assert!(text.contains("  expected  all\n") && text.contains("  observed  3 of 4"), "{text}");
        assert!(text.contains("  evidence  worker 4: 0\n") && text.contains("     again  verify --only x\n"));
        assert!(
            text.contains("inconclusive: one worker only\n") && text.contains("not applicable: no Redis\n")
        );
        assert_eq!(lines.last(), Some(&"1 passed, 1 failed, 1 inconclusive"));
    }

    #[test]
    fn a_terminal_gets_colour_and_a_spinner() {
        let text = written(|out| Box::new(Pretty::new(out, true, true)));
        assert!(text.contains("\x1b[36m⠋\x1b[0m") && text.contains(CLEAR), "{text:?}");
        assert!(text.ends_with("\x1b[1;31m1 passed, 1 failed, 1 inconclusive\x1b[0m\n"), "{text:?}");
    }
}
