//! Formats of lines. Whatever a client sends, a line stays one line and its fields
//! stay where they are.

use std::borrow::Cow;
use std::io::Write;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use shared_protocol::WorkerId;

use crate::record::{Record, RequestSummary};

/// The format of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Apache's `combined`, followed by what a balancer knows beyond it.
    #[default]
    Combined,
    /// A JSON object.
    Json,
}

/// Appends the line in Apache's `combined` format (Apache HTTP Server, "Log Files"),
/// followed by worker, attempts, the time that workers took, the whole time (both
/// in seconds), the request's id and, if it has one, that of its trace. What went wrong stands at the end, if something did.
/// Identity and user of the client are never known.
pub(crate) fn combined(record: &Record, out: &mut Vec<u8>) {
    let (text, summary) = (record.fields.text(), &record.summary);
    bare(text.client, out);
    put(out, format_args!(" - - [{}] ", clock(record.at)));
    quoted(text.request_line, out);
    put(out, format_args!(" {} {} ", summary.status, summary.sent));
    quoted(text.referer, out);
    out.push(b' ');
    quoted(text.user_agent, out);
    put(out, format_args!(" worker={} attempts={} upstream=", summary.worker, summary.attempts));
    match upstream(summary) {
        Some(took) => put(out, format_args!("{:.3}", took.as_secs_f64())),
        None => out.push(b'-'),
    }
    put(out, format_args!(" total={:.3} id=", summary.total.as_secs_f64()));
    bare(text.request_id, out);
    if text.trace_id.is_some() {
        out.extend_from_slice(b" trace=");
        bare(text.trace_id, out);
    }
    if let Some(fault) = summary.fault {
        put(out, format_args!(" fault={fault}"));
    }
    out.push(b'\n');
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    time: String,
    client: Option<Cow<'a, str>>,
    request: Option<Cow<'a, str>>,
    status: u16,
    bytes: u64,
    referer: Option<Cow<'a, str>>,
    user_agent: Option<Cow<'a, str>>,
    worker: WorkerId,
    attempts: usize,
    upstream_seconds: Option<f64>,
    total_seconds: f64,
    request_id: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<&'static str>,
}

/// Appends the line as a JSON object. Bytes that are not UTF-8 are replaced.
pub(crate) fn json(record: &Record, out: &mut Vec<u8>) {
    let (text, summary) = (record.fields.text(), &record.summary);
    let utf8 = |part: Option<_>| part.map(String::from_utf8_lossy);
    let line = Line {
        time: humantime::format_rfc3339_millis(record.at).to_string(),
        client: utf8(text.client),
        request: utf8(text.request_line),
        status: summary.status,
        bytes: summary.sent,
        referer: utf8(text.referer),
        user_agent: utf8(text.user_agent),
        worker: summary.worker,
        attempts: summary.attempts,
        upstream_seconds: upstream(summary).map(seconds),
        total_seconds: seconds(summary.total),
        request_id: utf8(text.request_id),
        trace_id: utf8(text.trace_id),
        fault: summary.fault,
    };
    serde_json::to_writer(&mut *out, &line).expect("a struct of strings and numbers always serialises");
    out.push(b'\n');
}

/// The time that workers took; `None` when no worker got the request.
fn upstream(summary: &RequestSummary) -> Option<Duration> {
    (summary.attempts > 0).then_some(summary.upstream)
}

/// To the microsecond: more digits say nothing.
fn seconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1e6
}

/// Such as `24/Nov/2026:14:12:37 +0000`, always UTC.
fn clock(at: SystemTime) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    // 2026-11-24T14:12:37Z
    let text = humantime::format_rfc3339_seconds(at).to_string();
    let number = |part: &str| part.parse::<usize>().unwrap_or(0);
    let month = MONTHS.get(number(&text[5..7]).saturating_sub(1)).unwrap_or(&MONTHS[0]);
    format!("{}/{month}/{}:{} +0000", &text[8..10], &text[..4], &text[11..19])
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to memory cannot fail");
}

fn quoted(part: Option<&[u8]>, out: &mut Vec<u8>) {
    out.push(b'"');
    match part {
        Some(part) if !part.is_empty() => escape(part, |_| true, out),
        _ => out.push(b'-'),
    }
    out.push(b'"');
}

/// A part without quotes must not have a space either.
fn bare(part: Option<&[u8]>, out: &mut Vec<u8>) {
    match part {
        Some(part) if !part.is_empty() => escape(part, |byte| byte != b' ', out),
        _ => out.push(b'-'),
    }
}

/// Escapes as nginx does by default: quotes, backslashes and every byte that is not
/// printable ASCII become `\xHH`.
fn escape(part: &[u8], fits: impl Fn(u8) -> bool, out: &mut Vec<u8>) {
    for &byte in part {
        match byte {
            b'"' | b'\\' => put(out, format_args!("\\x{byte:02X}")),
            b' '..=b'~' if fits(byte) => out.push(byte),
            _ => put(out, format_args!("\\x{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{LogFields, RequestText};

    fn record(text: RequestText<'_>) -> Record {
        Record {
            fields: Box::new(LogFields::new(text)),
            at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_529_557_250),
            summary: RequestSummary {
                worker: WorkerId(3),
                status: 200,
                attempts: 2,
                total: Duration::from_micros(1_005_600),
                upstream: Duration::from_micros(4_200),
                received: 0,
                sent: 31,
                fault: None,
            },
        }
    }

    fn line(record: &Record, format: fn(&Record, &mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        format(record, &mut out);
        String::from_utf8(out).unwrap()
    }

    const GOOD: RequestText<'_> = RequestText {
        client: Some(b"192.0.2.7"),
        request_line: Some(b"GET /a?b=c HTTP/1.1"),
        referer: None,
        user_agent: Some(b"curl/8"),
        request_id: Some(b"abc-1"),
        trace_id: None,
    };

    #[test]
    fn a_combined_line_has_all_there_is_to_know() {
        assert_eq!(
            line(&record(GOOD), combined),
            "192.0.2.7 - - [24/Nov/2026:14:12:37 +0000] \"GET /a?b=c HTTP/1.1\" 200 31 \"-\" \"curl/8\" \
             worker=3 attempts=2 upstream=0.004 total=1.006 id=abc-1\n"
        );
        let mut own = record(GOOD);
        (own.summary.worker, own.summary.attempts) = (WorkerId::PRIMARY, 0);
        assert!(line(&own, combined).contains(" worker=0 attempts=0 upstream=- total="));
    }

    #[test]
    fn a_json_line_has_the_same() {
        let text = line(&record(GOOD), json);
        let value: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!(
            value,
            serde_json::json!({
                "time": "2026-11-24T14:12:37.250Z", "client": "192.0.2.7", "request": "GET /a?b=c HTTP/1.1",
                "status": 200, "bytes": 31, "referer": null, "userAgent": "curl/8", "worker": 3, "attempts": 2,
                "upstreamSeconds": 0.0042, "totalSeconds": 1.0056, "requestId": "abc-1"
            })
        );
        assert!(text.ends_with("}\n"));
    }

    #[test]
    fn a_request_of_a_trace_tells_which() {
        let traced = record(RequestText { trace_id: Some(b"0af7651916cd43dd8448eb211c80319c"), ..GOOD });
        assert!(line(&traced, combined).ends_with(" id=abc-1 trace=0af7651916cd43dd8448eb211c80319c\n"));
        let value: serde_json::Value = serde_json::from_str(&line(&traced, json)).unwrap();
        assert_eq!(value["traceId"], "0af7651916cd43dd8448eb211c80319c");
    }

    #[test]
    fn what_went_wrong_stands_at_the_end() {
        let mut record = record(GOOD);
        record.summary.fault = Some("truncated");
        assert!(line(&record, combined).ends_with(" id=abc-1 fault=truncated\n"));
        assert!(line(&record, json).ends_with(",\"requestId\":\"abc-1\",\"fault\":\"truncated\"}\n"));
    }

    #[test]
    fn nothing_that_a_client_sends_ends_a_line_or_a_field() {
        let bytes = b"x\" 200 1\r\n127.0.0.1 - - [now] \"GET /\\\t\x00\x1b[31m\x7f\xff\xe2\x80\xa8 y";
        let evil = RequestText {
            client: Some(bytes),
            request_line: Some(bytes),
            referer: Some(bytes),
            user_agent: Some(bytes),
            request_id: Some(bytes),
            trace_id: Some(bytes),
        };
        let text = line(&record(evil), combined);
        assert_eq!(text.matches('\n').count(), 1);
        assert_eq!(text.matches('"').count(), 6, "three pairs of quotes: {text}");
        assert!(text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\n')), "{text}");
        assert!(text.starts_with("x\\x22\\x20200"), "what has no quotes has no spaces: {text}");
        let outside: String = text.split('"').step_by(2).collect();
        assert_eq!(outside.split_whitespace().count(), 13, "{outside}");
        let text = line(&record(evil), json);
        assert_eq!(text.matches('\n').count(), 1);
        assert!(text.trim_end().chars().all(|character| !character.is_control() || character == '\u{7f}'));
        let value: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!(value.as_object().unwrap().len(), 13);
        assert_eq!(value["referer"], String::from_utf8_lossy(bytes).into_owned());
    }

    #[test]
    fn months_and_days_are_right() {
        let at = |seconds| clock(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "01/Jan/1970:00:00:00 +0000");
        assert_eq!(at(951_782_400), "29/Feb/2000:00:00:00 +0000");
        assert_eq!(at(1_767_225_599), "31/Dec/2025:23:59:59 +0000");
    }
}
