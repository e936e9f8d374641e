//! The parts of a request that are kept for the access log.

use balancer_access_log::{LogFields, RequestText};
use balancer_http1::RequestHead;

use crate::field::ProxyField;
use crate::forwarded::{self, ClientIdentity};
use crate::headers::RequestId;
use crate::trace_context;

/// Most bytes that are kept of the first line of something that is no request.
const MAX_UNKNOWN_LINE: usize = 1024;

/// The fields of `request`, whose bytes are `head`.
pub(crate) fn of_request(
    head: &[u8],
    request: &RequestHead<'_, ProxyField>,
    identity: &ClientIdentity,
    id: &RequestId,
) -> Box<LogFields> {
    let mut memory = Vec::new();
    let request_line = as_sent(first_line(head, head.len()), identity, &mut memory);
    Box::new(LogFields::new(RequestText {
        client: Some(forwarded::client_address(&request.fields, identity)),
        request_line,
        referer: request.fields.first_named(b"referer"),
        user_agent: request.fields.first_named(b"user-agent"),
        request_id: Some(id.as_bytes()),
        trace_id: request.fields.first_named(b"traceparent").and_then(trace_context::trace_id),
    }))
}

/// The fields of something that begins with `bytes` and is no request.
pub(crate) fn of_refused(bytes: &[u8], identity: &ClientIdentity, id: &RequestId) -> Box<LogFields> {
    let mut memory = Vec::new();
    let request_line = as_sent(first_line(bytes, MAX_UNKNOWN_LINE), identity, &mut memory);
    Box::new(LogFields::new(RequestText {
        client: Some(identity.address.as_bytes()),
        request_line,
        request_id: Some(id.as_bytes()),
        ..RequestText::default()
    }))
}

fn first_line(bytes: &[u8], max_length: usize) -> Option<&[u8]> {
    let line = bytes.split(|&byte| byte == b'\n').next()?;
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    Some(&line[..line.len().min(max_length)])
}

/// The line with the version that the client speaks: the head of an HTTP/2 request is
/// written as one of HTTP/1.1. `memory` lends the memory for it.
fn as_sent<'a>(
    line: Option<&'a [u8]>,
    identity: &ClientIdentity,
    memory: &'a mut Vec<u8>,
) -> Option<&'a [u8]> {
    let before = if identity.is_http2 { line.and_then(|line| line.strip_suffix(b"HTTP/1.1")) } else { None };
    let Some(before) = before else { return line };
    memory.extend_from_slice(before);
    memory.extend_from_slice(b"HTTP/2.0");
    Some(memory)
}
