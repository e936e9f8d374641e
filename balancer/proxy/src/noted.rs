//! What is kept of a request for the access log.

use super::headers::RequestId;
use super::origin::{self, Origin};
use balancer_access_log::{LogFields, RequestText};
use balancer_http1::Field;
use balancer_http1::request::RequestHead;

/// Of a message that is no request, so many bytes at most are kept.
const LONGEST_UNKNOWN: usize = 1024;

/// The pieces of a request whose bytes are `head`.
pub(super) fn understood(
    head: &[u8],
    request: &RequestHead,
    origin: &Origin,
    id: &RequestId,
) -> Box<LogFields> {
    let value = |name: &[u8]| {
        let named = |field: &&Field| field.name.in_head(head).eq_ignore_ascii_case(name);
        request.fields.iter().find(named).map(|field| field.value.in_head(head))
    };
    Box::new(LogFields::new(RequestText {
        client: Some(origin::client(head, request, origin)),
        request_line: first_line(head, head.len()),
        referer: value(b"referer"),
        user_agent: value(b"user-agent"),
        request_id: Some(id.as_bytes()),
    }))
}

/// The pieces of something that begins with `bytes`, and is no request.
pub(super) fn refused(bytes: &[u8], origin: &Origin, id: &RequestId) -> Box<LogFields> {
    Box::new(LogFields::new(RequestText {
        client: Some(origin.address.as_bytes()),
        request_line: first_line(bytes, LONGEST_UNKNOWN),
        request_id: Some(id.as_bytes()),
        ..RequestText::default()
    }))
}

fn first_line(bytes: &[u8], longest: usize) -> Option<&[u8]> {
    let line = bytes.split(|&byte| byte == b'\n').next()?;
    Some(line.strip_suffix(b"\r").unwrap_or(line)).map(|line| &line[..line.len().min(longest)])
}
