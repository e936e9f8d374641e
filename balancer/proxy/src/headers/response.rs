//! The head that a client gets.

use shared_protocol::{REQUEST_ID_HEADER, WORKER_ID_HEADER, WorkerId};

use balancer_http1::{FieldKind, Framing, ResponseHead};

use super::request_id::RequestId;
use crate::field::ProxyField;
use crate::sticky::Sticky;
use crate::text;

/// What the balancer adds to a response that it passes on.
#[derive(Debug, Clone, Copy)]
pub struct ResponseHeaders<'a> {
    pub worker: WorkerId,
    pub request_id: &'a RequestId,
    /// How the body goes on. For [`Framing::Empty`] the worker's own length is kept, as
    /// it may be that of the response to a GET request.
    pub framing: Framing,
    /// The value of `Connection`, if it is needed.
    pub connection: Option<&'static str>,
    /// Brings the client back to this worker.
    pub cookie: Option<StickyCookie<'a>>,
}

#[derive(Debug, Clone, Copy)]
pub struct StickyCookie<'a> {
    pub sticky: &'a Sticky,
    /// The client sends it with HTTPS only.
    pub is_secure: bool,
}

/// Appends the head that a client gets for `response`.
pub fn write_response(
    out: &mut Vec<u8>,
    response: &ResponseHead<'_, ProxyField>,
    headers: ResponseHeaders<'_>,
) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(response.status_line);
    out.extend_from_slice(b"\r\n");
    let is_bodiless = response.status < 200 || response.status == 204;
    for field in response.fields.iter() {
        let is_kept = match field.kind {
            FieldKind::ContentLength => headers.framing == Framing::Empty && !is_bodiless,
            FieldKind::Upgrade => response.status == 101 || response.status == 426,
            FieldKind::Host | FieldKind::Expect | FieldKind::Other => true,
            FieldKind::Custom(ProxyField::ForwardedFor | ProxyField::Forwarded) => true,
            _ => false,
        };
        if is_kept && !response.fields.is_nominated(&field) {
            text::field(out, field.name, field.value);
        }
    }
    text::framing(out, headers.framing);
    out.extend_from_slice(WORKER_ID_HEADER.as_bytes());
    out.extend_from_slice(b": ");
    text::decimal(out, u64::from(headers.worker.0));
    out.extend_from_slice(b"\r\n");
    text::field(out, REQUEST_ID_HEADER.as_bytes(), headers.request_id.as_bytes());
    if let Some(StickyCookie { sticky, is_secure }) = headers.cookie {
        sticky.write(out, headers.worker, is_secure);
    }
    if let Some(connection) = headers.connection {
        text::field(out, b"connection", connection.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}
