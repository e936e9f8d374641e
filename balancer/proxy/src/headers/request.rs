//! The head that a worker gets.

use shared_protocol::REQUEST_ID_HEADER;

use balancer_http1::{FieldKind, Framing, RequestHead};

use super::request_id::RequestId;
use crate::field::ProxyField;
use crate::forwarded::ClientIdentity;
use crate::text;

/// Appends the head that a worker gets for `request`.
pub fn write_request(
    out: &mut Vec<u8>,
    request: &RequestHead<'_, ProxyField>,
    id: &RequestId,
    identity: &ClientIdentity,
) {
    out.extend_from_slice(request.method);
    out.extend_from_slice(if request.resource.rootless { b" /" } else { b" " });
    out.extend_from_slice(request.resource.path);
    // An HTTP/1.0 request need not name a host, the HTTP/1.1 request to a worker must.
    let host = request.host.unwrap_or(b"localhost");
    out.extend_from_slice(b" HTTP/1.1\r\n");
    text::field(out, b"host", host);
    let mut forwarded_for = None;
    let mut is_forwarded = false;
    for field in request.fields.iter() {
        match field.kind {
            FieldKind::Other => {}
            FieldKind::Custom(ProxyField::ForwardedFor) => {
                forwarded_for = Some(field.value);
                continue;
            }
            FieldKind::Custom(ProxyField::Forwarded) if identity.is_trusted => is_forwarded = true,
            _ => continue,
        }
        if !request.fields.is_nominated(&field) {
            text::field(out, field.name, field.value);
        }
    }
    text::field(out, REQUEST_ID_HEADER.as_bytes(), id.as_bytes());
    if !is_forwarded {
        text::field(out, b"x-forwarded-proto", b"http");
        text::field(out, b"x-forwarded-host", host);
    }
    out.extend_from_slice(b"x-forwarded-for: ");
    if let Some(before) = forwarded_for.filter(|_| identity.is_trusted) {
        out.extend_from_slice(before);
        out.extend_from_slice(b", ");
    }
    out.extend_from_slice(identity.address.as_bytes());
    out.extend_from_slice(b"\r\n");
    write_body_fields(out, request);
    if let Some(upgrade) = request.upgrade {
        text::field(out, b"connection", b"upgrade");
        text::field(out, b"upgrade", upgrade);
    }
    out.extend_from_slice(b"\r\n");
}

fn write_body_fields(out: &mut Vec<u8>, request: &RequestHead<'_, ProxyField>) {
    text::framing(out, request.framing);
    if request.framing == Framing::Empty && announces_length(request.method) {
        text::field(out, b"content-length", b"0");
    }
    if request.expects_continue && request.framing != Framing::Empty {
        text::field(out, b"expect", b"100-continue");
    }
}

/// Methods whose requests say that they have no body (RFC 9110, section 8.6).
fn announces_length(method: &[u8]) -> bool {
    matches!(method, b"POST" | b"PUT" | b"PATCH")
}
