//! What the user sees: one reporter per format.

use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use shared_telemetry::terminal;

use crate::checks::Check;
use crate::cli::Format;
use crate::verdict::{Outcome, Verdict};

mod json;
mod junit;
mod pretty;
mod tap;

/// What is about to be judged.
#[derive(Debug, Clone)]
pub struct Subject {
    pub url: String,
    /// Such as "4 workers, state in redis".
    pub description: String,
    pub checks: usize,
}

/// One check that has run.
pub struct Record {
    pub check: &'static Check,
    pub verdict: Verdict,
    pub took: Duration,
    /// The command that runs just this one again.
    pub again: String,
}

/// How it went as a whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    pub passed: usize,
    pub failed: usize,
    pub inconclusive: usize,
    pub not_applicable: usize,
    pub took: Duration,
    /// Ended by a signal before its time.
    pub interrupted: Option<Interrupted>,
}

/// Where a signal has ended it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interrupted {
    /// The check that was running.
    pub during: &'static str,
    /// Checks without a verdict, this one included.
    pub missing: usize,
}

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = if self.missing == 1 { "" } else { "s" };
        write!(f, "interrupted during {}: {} check{s} without a verdict", self.during, self.missing)
    }
}

impl Summary {
    pub fn of(records: &[Record], took: Duration, interrupted: Option<Interrupted>) -> Self {
        let count = |outcome| records.iter().filter(|record| record.verdict.outcome == outcome).count();
        Self {
            passed: count(Outcome::Passed),
            failed: count(Outcome::Failed),
            inconclusive: count(Outcome::Inconclusive),
            not_applicable: count(Outcome::NotApplicable),
            took,
            interrupted,
        }
    }

    pub fn line(&self) -> String {
        format!("{} passed, {} failed, {} inconclusive", self.passed, self.failed, self.inconclusive)
    }

    /// 0 all passed, 1 one failed, 4 none failed, but not all could be decided.
    /// Nothing that was judged is no success either.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self { failed: 1.., .. } => 1,
            Self { inconclusive: 1.., .. } | Self { passed: 0, .. } => 4,
            _ => 0,
        }
    }
}

/// Told of everything as it happens.
pub trait Reporter {
    fn begin(&mut self, subject: &Subject) -> io::Result<()>;
    fn started(&mut self, check: &'static Check) -> io::Result<()>;
    /// Some time has passed while the check runs.
    fn waiting(&mut self, check: &'static Check, elapsed: Duration) -> io::Result<()>;
    fn finished(&mut self, record: &Record) -> io::Result<()>;
    fn end(&mut self, records: &[Record], summary: &Summary) -> io::Result<()>;
}

/// The reporter for `format`, on standard output.
pub fn reporter(format: Option<Format>) -> Box<dyn Reporter> {
    let is_terminal = terminal::stdout_is_terminal();
    let out: Box<dyn Write> = Box::new(io::stdout());
    match format.unwrap_or(if is_terminal { Format::Pretty } else { Format::Tap }) {
        Format::Pretty => {
            let columns: pretty::Columns = if is_terminal { columns } else { || None };
            Box::new(pretty::Pretty::new(out, is_terminal, terminal::stdout_has_colour(), columns))
        }
        Format::Tap => Box::new(tap::Tap::new(out)),
        Format::Junit => Box::new(junit::Junit::new(out)),
        Format::Json => Box::new(json::Json::new(out)),
    }
}

/// How wide the terminal is now; a terminal that does not know says 0.
fn columns() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    Some(size.ws_col.into()).filter(|&columns| columns > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks;

    pub(super) fn records() -> Vec<Record> {
        let record = |index: usize, verdict| Record {
            check: &checks::ALL[index],
            verdict,
            took: Duration::from_millis(1500),
            again: "verify --only x".to_owned(),
        };
        vec![
            record(0, Verdict::judge(true, "100 of 100", "all", 100, vec![])),
            record(1, Verdict::judge(false, "3 of 4 <\"&>", "all", 61, vec!["worker 4: 0".to_owned()])),
            record(2, Verdict::inconclusive("one worker only")),
            record(3, Verdict::not_applicable("no Redis")),
        ]
    }

    pub(super) fn subject() -> Subject {
        Subject { url: "http://h:1".to_owned(), description: "4 workers".to_owned(), checks: 4 }
    }

    /// What a reporter writes when [`records`] come in.
    pub(super) fn written(make: impl FnOnce(Box<dyn Write>) -> Box<dyn Reporter>) -> String {
        #[derive(Clone, Default)]
        struct Sink(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);
        impl Write for Sink {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().write(bytes)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let sink = Sink::default();
        let mut reporter = make(Box::new(sink.clone()));
        let records = records();
        reporter.begin(&subject()).unwrap();
        for record in &records {
            reporter.started(record.check).unwrap();
            reporter.waiting(record.check, Duration::from_millis(100)).unwrap();
            reporter.finished(record).unwrap();
        }
        reporter.end(&records, &Summary::of(&records, Duration::from_secs(6), None)).unwrap();
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn exit_codes_follow_from_the_counts() {
        let code = |passed, failed, inconclusive| {
            Summary { passed, failed, inconclusive, ..Summary::default() }.exit_code()
        };
        assert_eq!((code(3, 0, 0), code(3, 1, 1), code(3, 0, 1), code(0, 0, 1)), (0, 1, 4, 4));
        assert_eq!(code(0, 0, 0), 4);
        let summary = Summary::of(&records(), Duration::ZERO, None);
        assert_eq!(summary.line(), "1 passed, 1 failed, 1 inconclusive");
    }
}
