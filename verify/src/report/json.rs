//! One JSON document, when all is done.

use std::io::{self, Write};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Record, Reporter, Subject, Summary};
use crate::checks::Check;

pub(super) struct Json {
    out: Box<dyn Write>,
    subject: Value,
}

impl Json {
    pub(super) fn new(out: Box<dyn Write>) -> Self {
        Self { out, subject: Value::Null }
    }
}

impl Reporter for Json {
    fn begin(&mut self, subject: &Subject) -> io::Result<()> {
        self.subject = json!({"url": subject.url, "description": subject.description});
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
        let checks: Vec<Value> = records.iter().map(check).collect();
        let document = json!({
            "target": self.subject,
            "checks": checks,
            "summary": {
                "passed": summary.passed,
                "failed": summary.failed,
                "inconclusive": summary.inconclusive,
                "notApplicable": summary.not_applicable,
                "interrupted": summary.interrupted.is_some(),
                "interruptedDuring": summary.interrupted.map(|one| one.during),
                "seconds": summary.took.as_secs_f64(),
            },
        });
        writeln!(self.out, "{document:#}")?;
        self.out.flush()?;
        writeln!(io::stderr(), "{}", summary.line())
    }
}

fn check(record: &Record) -> Value {
    let mut value = serde_json::to_value(&record.verdict).expect("a verdict is text and numbers");
    value["name"] = record.check.name.into();
    value["proves"] = record.check.proves.into();
    value["seconds"] = record.took.as_secs_f64().into();
    value["again"] = record.again.as_str().into();
    value
}

#[cfg(test)]
mod tests {
    use super::super::tests::written;
    use super::*;

    #[test]
    fn the_document_has_every_check_and_the_counts() {
        let text = written(|out| Box::new(Json::new(out)));
        let document: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(document["checks"][0]["outcome"], "passed");
        assert_eq!(document["checks"][1]["evidence"], json!(["worker 4: 0"]));
        assert_eq!(document["checks"][2]["reason"], "one worker only");
        assert_eq!(document["checks"][3]["outcome"], "not-applicable");
        assert_eq!(
            (&document["summary"]["failed"], &document["target"]["url"]),
            (&1.into(), &"http://h:1".into())
        );
    }
}
