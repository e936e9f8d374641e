//! JUnit's XML, as CI servers read it: one test case per check.

use std::io::{self, Write};
use std::time::Duration;

use super::{Record, Reporter, Subject, Summary};
use crate::checks::Check;
use crate::verdict::Outcome;

pub(super) struct Junit {
    out: Box<dyn Write>,
    url: String,
}

impl Junit {
    pub(super) fn new(out: Box<dyn Write>) -> Self {
        Self { out, url: String::new() }
    }

    fn case(&mut self, record: &Record) -> io::Result<()> {
        let verdict = &record.verdict;
        let (name, seconds) = (escaped(record.check.name), record.took.as_secs_f64());
        write!(self.out, "  <testcase classname=\"verify\" name=\"{name}\" time=\"{seconds:.3}\">")?;
        let reason = escaped(verdict.reason.as_deref().unwrap_or_default());
        match verdict.outcome {
            Outcome::Passed => {}
            Outcome::Failed => {
                let mut text = format!("expected: {}\nobserved: {}\n", verdict.threshold, verdict.figure);
                text.extend(verdict.evidence.iter().map(|line| format!("evidence: {line}\n")));
                text.push_str(&format!("again: {}\n", record.again));
                let message = escaped(&verdict.figure);
                write!(self.out, "<failure message=\"{message}\">{}</failure>", escaped(&text))?;
            }
            Outcome::Inconclusive => write!(self.out, "<skipped message=\"inconclusive: {reason}\"/>")?,
            Outcome::NotApplicable => write!(self.out, "<skipped message=\"not applicable: {reason}\"/>")?,
        }
        let out = format!("{}: {}", record.check.proves, verdict.line());
        writeln!(self.out, "<system-out>{}</system-out></testcase>", escaped(&out))
    }
}

/// XML 1.0, section 2.4; what no document may hold (section 2.2) is replaced.
fn escaped(text: &str) -> String {
    let mut xml = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => xml.push_str("&amp;"),
            '<' => xml.push_str("&lt;"),
            '>' => xml.push_str("&gt;"),
            '"' => xml.push_str("&quot;"),
            '\n' => xml.push_str("&#10;"),
            '\t' => xml.push(c),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => xml.push('\u{fffd}'),
            c => xml.push(c),
        }
    }
    xml
}

impl Reporter for Junit {
    fn begin(&mut self, subject: &Subject) -> io::Result<()> {
        self.url.clone_from(&subject.url);
        Ok(())
    }

    fn started(&mut self, _: &'static Check) -> io::Result<()> {
        Ok(())
    }

    fn waiting(&mut self, _: &'static Check, _: Duration) -> io::Result<()> {
        Ok(())
    }

    fn finished(&mut self, _: &Record) -> io::Result<()> {
        Ok(())
    }

    fn end(&mut self, records: &[Record], summary: &Summary) -> io::Result<()> {
        writeln!(self.out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>")?;
        writeln!(
            self.out,
            "<testsuite name=\"verify {}\" tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"{}\" time=\"{:.3}\">",
            escaped(&self.url),
            records.len(),
            summary.failed,
            summary.inconclusive + summary.not_applicable,
            summary.took.as_secs_f64()
        )?;
        for record in records {
            self.case(record)?;
        }
        if let Some(interrupted) = summary.interrupted {
            writeln!(self.out, "  <system-err>{}</system-err>", escaped(&interrupted.to_string()))?;
        }
        writeln!(self.out, "</testsuite>")?;
        self.out.flush()?;
        writeln!(io::stderr(), "{}", summary.line())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::written;
    use super::*;

    #[test]
    fn each_check_is_a_test_case() {
        let text = written(|out| Box::new(Junit::new(out)));
        assert!(text.contains("tests=\"4\" failures=\"1\" errors=\"0\" skipped=\"2\""), "{text}");
        assert!(
            text.contains("<failure message=\"3 of 4 &lt;&quot;&amp;&gt;\">expected: all&#10;"),
            "{text}"
        );
        assert!(text.contains("<skipped message=\"inconclusive: one worker only\"/>"));
        assert!(text.trim_end().ends_with("</testsuite>"));
        assert_eq!(escaped("a\u{1}b"), "a\u{fffd}b");
    }
}
