//! Request bodies: bounded in size and time, and JSON with errors that name the
//! field.

use std::ops::{Deref, RangeInclusive};
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use actix_web::web::{Bytes, BytesMut, Payload};
use actix_web::{HttpMessage, HttpRequest};
use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::error::Category;
use serde_json::value::RawValue;

use crate::budget::Share;
use crate::context::Context;
use crate::error::Failure;

mod checked;

pub(crate) use checked::check;

/// A body must have arrived by then; a slow one only keeps its own connection.
const TIME_LIMIT: Duration = Duration::from_secs(20);
/// What is set aside for a body on its announcement alone.
const RESERVED_BYTES: usize = 16 * 1024;
/// Of a wrong value, no more than this is repeated in an error.
const QUOTED_CHARS: usize = 40;

/// A body that has arrived whole. It counts as held until it is dropped.
pub(crate) struct Body<'a> {
    bytes: Bytes,
    _share: Share<'a>,
}

impl Deref for Body<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The body of `request`: JSON of at most the configured size, or nothing.
///
/// # Errors
/// 413 when it is larger, 415 when it is something else than JSON in UTF-8, 408
/// when it takes too long, 400 when it ends too early, 503 when too many large
/// ones are held already.
pub(crate) async fn read<'a>(
    request: &HttpRequest,
    payload: Payload,
    context: &'a Context,
) -> Result<Body<'a>, Failure> {
    let body =
        tokio::time::timeout(TIME_LIMIT, collect(request, payload, context)).await.map_err(|_| {
            let detail = format!("the body did not arrive within {} s", TIME_LIMIT.as_secs());
            Failure::new(StatusCode::REQUEST_TIMEOUT, detail)
        })??;
    if !body.is_empty() {
        require_json(request)?;
    }
    Ok(body)
}

async fn collect<'a>(
    request: &HttpRequest,
    mut payload: Payload,
    context: &'a Context,
) -> Result<Body<'a>, Failure> {
    let limit = context.max_body;
    let too_large = || {
        let detail = format!("the body is larger than {limit} bytes (CLUSTER_MAX_BODY)");
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
    };
    let declared = content_length(request)?;
    if declared > limit {
        return Err(too_large());
    }
    let mut share = context.bodies.share();
    let mut body = BytesMut::with_capacity(declared.min(RESERVED_BYTES));
    while let Some(chunk) = payload.next().await {
        let chunk = chunk
            .map_err(|err| Failure::bad_request(format!("the body did not arrive as announced: {err}")))?;
        let size = body.len() + chunk.len();
        if size > limit {
            return Err(too_large());
        }
        if !share.grow_to(size) {
            return Err(Failure::unavailable("too many large bodies are on their way; try again soon"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Body { bytes: body.freeze(), _share: share })
}

/// What the request says about its body's length; 0 when it says nothing.
fn content_length(request: &HttpRequest) -> Result<usize, Failure> {
    let Some(length) = request.headers().get(actix_web::http::header::CONTENT_LENGTH) else { return Ok(0) };
    let length = length.to_str().ok().and_then(|text| text.parse().ok());
    length.ok_or_else(|| Failure::bad_request("Content-Length is no number"))
}

fn require_json(request: &HttpRequest) -> Result<(), Failure> {
    let refuse = |detail: String| Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    if let Some(encoding) = request.headers().get(CONTENT_ENCODING)
        && !encoding.as_bytes().eq_ignore_ascii_case(b"identity")
    {
        return refuse("the body must not be compressed (leave out Content-Encoding)".to_owned());
    }
    let Ok(Some(kind)) = request.mime_type() else {
        return refuse("the body needs the header Content-Type: application/json".to_owned());
    };
    let is_json = kind.type_() == "application" && kind.subtype() == "json"
        || kind.suffix().is_some_and(|s| s == "json");
    let is_utf8 = kind.get_param("charset").is_none_or(|charset| charset == "utf-8");
    if is_json && is_utf8 {
        return Ok(());
    }
    let sent = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    refuse(format!("the body must have Content-Type: application/json, in UTF-8; it has {}", quoted(sent)))
}

/// Reads a JSON object whose fields `T` knows; `T` borrows from the body.
///
/// # Errors
/// 400 when it is no JSON, no object, or has fields that are unknown or double.
pub(crate) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Failure> {
    // serde would also take an array for a struct.
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    if first.is_some_and(|&byte| matches!(byte, b'[' | b'"' | b'0'..=b'9' | b'-' | b't' | b'f' | b'n')) {
        return Err(Failure::bad_request("the body must be a JSON object, such as {\"key\": \"myKey\"}"));
    }
    serde_json::from_slice(body).map_err(|err| match err.classify() {
        Category::Data => Failure::bad_request(format!("the body is not as expected: {err}")),
        Category::Syntax | Category::Eof | Category::Io => {
            Failure::bad_request(format!("the body is not valid JSON: {err}"))
        }
    })
}

/// The integer in field `name`; `None` when the field is missing or null.
pub(crate) fn integer(
    name: &str,
    value: Option<&RawValue>,
    range: RangeInclusive<i64>,
    example: i64,
) -> Result<Option<i64>, Failure> {
    let Some(value) = value.map(RawValue::get) else { return Ok(None) };
    match value.parse::<i64>() {
        Ok(number) if range.contains(&number) => Ok(Some(number)),
        _ => Err(Failure::bad_request(format!(
            "{name} must be an integer from {} to {}, for example {{\"{name}\": {example}}}; it was {}",
            range.start(),
            range.end(),
            quoted(value)
        ))),
    }
}

/// `text`, cut to what an error may repeat.
pub(crate) fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARS) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// For fields in which null is a value and not the same as missing.
pub(crate) fn present<'de, D>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error>
where
    D: serde::Deserializer<'de>,
{
    <&RawValue>::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Example<'a> {
        #[serde(borrow, default, deserialize_with = "present")]
        value: Option<&'a RawValue>,
    }

    fn error(body: &str) -> String {
        parse::<Example<'_>>(body.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn objects_only_and_errors_say_what_is_wrong() {
        assert!(parse::<Example<'_>>(b"{}").unwrap().value.is_none());
        assert_eq!(parse::<Example<'_>>(b" {\"value\": null }").unwrap().value.unwrap().get(), "null");
        for body in ["[1]", "35", "\"a\"", "null", " true", "-1"] {
            assert!(error(body).contains("must be a JSON object"), "{body}");
        }
        assert!(error("{\"valu\":1}").contains("unknown field `valu`, expected `value`"));
        assert!(error("{\"value\":1,\"value\":2}").contains("duplicate field `value`"));
        assert!(error("{\"value\":}").contains("not valid JSON"));
        assert!(error("{\"value\":1").contains("not valid JSON"));
        assert!(error("").contains("not valid JSON"));
    }

    #[test]
    fn integers_are_checked_as_they_were_written() {
        let read = |text: &str| {
            let value = RawValue::from_string(text.to_owned()).unwrap();
            integer("n", Some(&value), 0..=45, 35).map_err(|err| err.to_string())
        };
        assert_eq!(read("0"), Ok(Some(0)));
        assert_eq!(read("45"), Ok(Some(45)));
        for bad in ["-1", "46", "1e9", "\"35\"", "35.5", "35.0", "true", "[35]", "99999999999999999999"] {
            let expected =
                format!("n must be an integer from 0 to 45, for example {{\"n\": 35}}; it was {bad}");
            assert_eq!(read(bad), Err(expected));
        }
        assert!(read(&format!("\"{}\"", "x".repeat(1000))).unwrap_err().ends_with("xxx…"));
        assert!(integer("n", None, 0..=1, 0).unwrap().is_none());
    }
}
