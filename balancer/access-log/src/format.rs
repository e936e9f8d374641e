//! Lines of the access log. Whatever a client sends, a line stays one line and
//! its fields stay where they are.

use std::borrow::Cow;
use std::io::Write;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use shared_protocol::WorkerId;

use super::Record;

/// Appends the line in Apache's `combined` form (Apache HTTP Server, "Log Files"),
/// followed by worker, attempts, the time that workers took, the whole time (both
/// in seconds) and the request's id. The client's identity and user are never known.
pub(super) fn combined(record: &Record, out: &mut Vec<u8>) {
    let pieces = record.texts.pieces();
    bare(pieces.client, out);
    put(out, format_args!(" - - [{}] ", clock(record.at)));
    quoted(pieces.request_line, out);
    put(out, format_args!(" {} {} ", record.status, record.sent));
    quoted(pieces.referer, out);
    out.push(b' ');
    quoted(pieces.user_agent, out);
    put(out, format_args!(" worker={} attempts={} upstream=", record.worker, record.attempts));
    match upstream(record) {
        Some(took) => put(out, format_args!("{:.3}", took.as_secs_f64())),
        None => out.push(b'-'),
    }
    put(out, format_args!(" total={:.3} id=", record.total.as_secs_f64()));
    bare(pieces.request_id, out);
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
}

/// Appends the line as a JSON object. Bytes that are not UTF-8 are replaced.
pub(super) fn json(record: &Record, out: &mut Vec<u8>) {
    let pieces = record.texts.pieces();
    let text = |piece: Option<_>| piece.map(String::from_utf8_lossy);
    let line = Line {
        time: humantime::format_rfc3339_millis(record.at).to_string(),
        client: text(pieces.client),
        request: text(pieces.request_line),
        status: record.status,
        bytes: record.sent,
        referer: text(pieces.referer),
        user_agent: text(pieces.user_agent),
        worker: record.worker,
        attempts: record.attempts,
        upstream_seconds: upstream(record).map(seconds),
        total_seconds: seconds(record.total),
        request_id: text(pieces.request_id),
    };
    serde_json::to_writer(&mut *out, &line).expect("a struct of strings and numbers always serialises");
    out.push(b'\n');
}

/// Nobody was asked, so there is no time that it took.
fn upstream(record: &Record) -> Option<Duration> {
    (record.attempts > 0).then_some(record.upstream)
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

fn quoted(piece: Option<&[u8]>, out: &mut Vec<u8>) {
    out.push(b'"');
    match piece {
        Some(piece) if !piece.is_empty() => escape(piece, |_| true, out),
        _ => out.push(b'-'),
    }
    out.push(b'"');
}

/// What stands without quotes must not have a space either.
fn bare(piece: Option<&[u8]>, out: &mut Vec<u8>) {
    match piece {
        Some(piece) if !piece.is_empty() => escape(piece, |byte| byte != b' ', out),
        _ => out.push(b'-'),
    }
}

/// As nginx does by default: quotes, backslashes and all that is not printable
/// ASCII become `\xHH`.
fn escape(piece: &[u8], fits: impl Fn(u8) -> bool, out: &mut Vec<u8>) {
    for &byte in piece {
        match byte {
            b'"' | b'\\' => put(out, format_args!("\\x{byte:02X}")),
            b' '..=b'~' if fits(byte) => out.push(byte),
            _ => put(out, format_args!("\\x{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Pieces, Texts};
    use super::*;

    fn record(pieces: Pieces<'_>) -> Record {
        Record {
            texts: Box::new(Texts::new(pieces)),
            at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_529_557_250),
            worker: WorkerId(3),
            status: 200,
            sent: 31,
            attempts: 2,
            upstream: Duration::from_micros(4_200),
            total: Duration::from_micros(1_005_600),
        }
    }

    fn line(record: &Record, format: fn(&Record, &mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        format(record, &mut out);
        String::from_utf8(out).unwrap()
    }

    const GOOD: Pieces<'_> = Pieces {
        client: Some(b"192.0.2.7"),
        request_line: Some(b"GET /a?b=c HTTP/1.1"),
        referer: None,
        user_agent: Some(b"curl/8"),
        request_id: Some(b"abc-1"),
    };

    #[test]
    fn a_combined_line_has_all_there_is_to_know() {
        assert_eq!(
            line(&record(GOOD), combined),
            "192.0.2.7 - - [24/Nov/2026:14:12:37 +0000] \"GET /a?b=c HTTP/1.1\" 200 31 \"-\" \"curl/8\" \
             worker=3 attempts=2 upstream=0.004 total=1.006 id=abc-1\n"
        );
        let own = Record { worker: WorkerId(0), attempts: 0, ..record(GOOD) };
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
    fn nothing_that_a_client_sends_ends_a_line_or_a_field() {
        let evil = b"x\" 200 1\r\n127.0.0.1 - - [now] \"GET /\\\t\x00\x1b[31m\x7f\xff\xe2\x80\xa8 y";
        let pieces = Pieces {
            client: Some(evil),
            request_line: Some(evil),
            referer: Some(evil),
            user_agent: Some(evil),
            request_id: Some(evil),
        };
        let text = line(&record(pieces), combined);
        assert_eq!(text.matches('\n').count(), 1);
        assert_eq!(text.matches('"').count(), 6, "three pairs of quotes: {text}");
        assert!(text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\n')), "{text}");
        assert!(text.starts_with("x\\x22\\x20200"), "what has no quotes has no spaces: {text}");
        let outside: String = text.split('"').step_by(2).collect();
        assert_eq!(outside.split_whitespace().count(), 12, "{outside}");
        let text = line(&record(pieces), json);
        assert_eq!(text.matches('\n').count(), 1);
        assert!(text.trim_end().chars().all(|character| !character.is_control() || character == '\u{7f}'));
        let value: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!(value.as_object().unwrap().len(), 12);
        assert_eq!(value["referer"], String::from_utf8_lossy(evil).into_owned());
    }

    #[test]
    fn months_and_days_are_right() {
        let at = |seconds| clock(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "01/Jan/1970:00:00:00 +0000");
        assert_eq!(at(951_782_400), "29/Feb/2000:00:00:00 +0000");
        assert_eq!(at(1_767_225_599), "31/Dec/2025:23:59:59 +0000");
    }
}
