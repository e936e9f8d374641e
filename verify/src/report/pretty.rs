//! For people: a line per check as it runs.

use std::io::{self, Write};
use std::time::Duration;

use super::{Record, Reporter, Subject, Summary};
use crate::checks::{ALL, Check};
use crate::verdict::Outcome;

const SPINNER: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
/// Back to the first column, and the line is empty.
const CLEAR: &str = "\r\x1b[2K";

/// Between the name's column and where texts begin: the time taken.
const TIME_WIDTH: usize = 9;
/// Where texts have less room than this they get lines of their own.
const NARROW: usize = 24;
const INDENT: usize = 4;
/// Where the text of a detail begins.
const DETAIL: usize = 14;

/// Columns of the terminal, which may change meanwhile; `None` where lines may be
/// of any length.
pub(super) type Columns = fn() -> Option<usize>;

pub(super) struct Pretty {
    out: Box<dyn Write>,
    /// Lines may be written anew.
    live: bool,
    colour: bool,
    columns: Columns,
    frame: usize,
    width: usize,
}

impl Pretty {
    pub(super) fn new(out: Box<dyn Write>, live: bool, colour: bool, columns: Columns) -> Self {
        let width = ALL.iter().map(|check| check.name.len()).max().unwrap_or(0);
        Self { out, live, colour, columns, frame: 0, width }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        match self.colour {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }

    /// `text` behind what stands in the first `column` columns already, on as
    /// many lines as it needs.
    fn text(&mut self, column: usize, code: &str, text: &str) -> io::Result<()> {
        if !self.is_narrow(column) {
            return self.lines(column, code, text);
        }
        write!(self.out, "\n{:INDENT$}", "")?;
        self.lines(INDENT, code, text)
    }

    /// The same, where there is room for it.
    fn lines(&mut self, indent: usize, code: &str, text: &str) -> io::Result<()> {
        let room = (self.columns)().map_or(usize::MAX, |columns| columns.saturating_sub(indent).max(1));
        for (index, line) in wrapped(text, room).iter().enumerate() {
            let line = if code.is_empty() { line.clone() } else { self.paint(code, line) };
            match index {
                0 => write!(self.out, "{line}")?,
                _ => write!(self.out, "\n{:indent$}{line}", "")?,
            }
        }
        Ok(())
    }

    fn detail(&mut self, label: &str, text: &str) -> io::Result<()> {
        if label.is_empty() && self.is_narrow(DETAIL) {
            write!(self.out, "{:INDENT$}", "")?;
            self.lines(INDENT, "", text)?;
        } else {
            let label = self.paint("2", &format!("{label:>10}"));
            write!(self.out, "  {label}  ")?;
            self.text(DETAIL, "", text)?;
        }
        writeln!(self.out)
    }

    fn is_narrow(&self, column: usize) -> bool {
        (self.columns)().is_some_and(|columns| columns < column + NARROW)
    }

    /// What was measured, and against what: on one line if there is room for both.
    fn result(&mut self, figure: &str, against: &str) -> io::Result<()> {
        let column = 2 + self.width + TIME_WIDTH + 1;
        let both = column + figure.chars().count() + 2 + against.chars().count();
        self.text(column, "", figure)?;
        if (self.columns)().is_none_or(|columns| both <= columns) {
            let against = self.paint("2", against);
            return writeln!(self.out, "  {against}");
        }
        if !self.is_narrow(column) {
            write!(self.out, "\n{:column$}", "")?;
        }
        self.text(column, "2", against)?;
        writeln!(self.out)
    }
}

/// Lines of at most `room` characters, broken between words; a longer word is
/// left whole, so that it can be copied.
fn wrapped(text: &str, room: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is one from the beginning");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= room {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

/// The beginning of `text`, in one line.
fn cut(text: &str, room: usize) -> String {
    match text.chars().count() <= room {
        true => text.to_owned(),
        false => text.chars().take(room.saturating_sub(1)).chain(['…']).collect(),
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
        let line = format!("{:width$} {:>6.1}s  {}", check.name, elapsed.as_secs_f64(), check.proves);
        // A line that is broken by the terminal could not be written anew.
        let line = cut(&line, (self.columns)().map_or(usize::MAX, |columns| columns.saturating_sub(3)));
        let told = line.char_indices().nth(width + TIME_WIDTH + 1).map_or(line.len(), |(at, _)| at);
        let (plain, dim) = line.split_at(told);
        let dim = self.paint("2", dim);
        write!(self.out, "{CLEAR}{spinner} {plain}{dim}")?;
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
        write!(self.out, "{mark} {name} {:>6.1}s  ", record.took.as_secs_f64())?;
        let column = 2 + width + TIME_WIDTH + 1;
        match (verdict.outcome, &verdict.reason) {
            (Outcome::Inconclusive, Some(reason)) => {
                self.text(column, "", &format!("inconclusive: {reason}"))?;
                writeln!(self.out)?;
            }
            (_, Some(reason)) => {
                self.text(column, "", &format!("not applicable: {reason}"))?;
                writeln!(self.out)?;
            }
            (_, None) => {
                let against = format!("[{}; N = {}]", verdict.threshold, verdict.samples);
                self.result(&verdict.figure, &against)?;
            }
        }
        if verdict.outcome == Outcome::Failed {
            self.detail("proves", &format!("that {}", record.check.proves))?;
            self.detail("expected", &verdict.threshold)?;
            self.detail("observed", &verdict.figure)?;
            for (index, line) in verdict.evidence.iter().enumerate() {
                self.detail(if index == 0 { "evidence" } else { "" }, line)?;
            }
        }
        if matches!(verdict.outcome, Outcome::Failed | Outcome::Inconclusive) {
            // In one line, so that it can be copied.
            let label = self.paint("2", "     again");
            writeln!(self.out, "  {label}  {}", record.again)?;
        }
        self.out.flush()
    }

    fn end(&mut self, _: &[Record], summary: &Summary) -> io::Result<()> {
        if self.live {
            write!(self.out, "{CLEAR}")?;
        }
        writeln!(self.out)?;
        if let Some(interrupted) = summary.interrupted {
            writeln!(self.out, "{}", self.paint("1;33", &interrupted.to_string()))?;
        }
        if summary.not_applicable > 0 {
            writeln!(self.out, "{} not applicable", summary.not_applicable)?;
        }
        writeln!(self.out, "{:.1} s", summary.took.as_secs_f64())?;
        let code = match (summary.failed, summary.exit_code()) {
            (1.., _) => "1;31",
            (_, 0) if summary.interrupted.is_none() => "1;32",
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
        let text = written(|out| Box::new(Pretty::new(out, false, false, || None)));
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
    fn no_line_is_broken_by_the_terminal() {
        for (columns, make) in [(80, (|| Some(80)) as Columns), (50, || Some(50)), (36, || Some(36))] {
            let text = written(|out| Box::new(Pretty::new(out, true, false, make)));
            for line in text.replace(CLEAR, "\n").lines() {
                assert!(line.chars().count() <= columns, "{columns}: {line:?}");
            }
        }
    }

    #[test]
    fn texts_are_broken_between_words() {
        assert_eq!(wrapped("one two three", 8), ["one two", "three"]);
        assert_eq!(wrapped("a http://long-word b", 4), ["a", "http://long-word", "b"]);
        assert_eq!(wrapped("", 4), [""]);
        assert_eq!(
            (cut("abcdef", 4), cut("abc", 4), cut("abc", 0)),
            ("abc…".into(), "abc".into(), "…".into())
        );
    }

    #[test]
    fn a_terminal_gets_colour_and_a_spinner() {
        let text = written(|out| Box::new(Pretty::new(out, true, true, || Some(80))));
        assert!(text.contains("\x1b[36m⠋\x1b[0m") && text.contains(CLEAR), "{text:?}");
        assert!(text.contains("    0.1s  \x1b[2m100 of 100 requests are answered\x1b[0m"), "{text:?}");
        assert!(text.ends_with("\x1b[1;31m1 passed, 1 failed, 1 inconclusive\x1b[0m\n"), "{text:?}");
    }
}
