//! The head that a worker gets.

use balancer_http1::{FieldKind, Framing, RequestHead};

use super::request_id::RequestId;
use crate::field::ProxyField;
use crate::forwarded::{self, ClientIdentity};
use crate::text;

/// Appends the head that a worker gets for `request`. Fields stay in their order and keep
/// the names as the client wrote them; what the balancer adds comes last.
pub fn write_request(
    out: &mut Vec<u8>,
    request: &RequestHead<'_, ProxyField>,
    id: &RequestId,
    identity: &ClientIdentity,
) {
    out.extend_from_slice(request.method);
    out.extend_from_slice(if request.resource.rootless { b" /" } else { b" " });
    out.extend_from_slice(request.resource.path);
    out.extend_from_slice(b" HTTP/1.1\r\n");
    // An HTTP/1.0 request need not name a host, the HTTP/1.1 request to a worker must.
    let host = request.host.unwrap_or(b"localhost");
    if request.host.is_none() {
        text::field(out, b"Host", host);
    }
    let (mut is_forwarded, mut has_length, mut has_expect, mut has_te) = (false, false, false, false);
    let mut id_name = text::X_REQUEST_ID;
    for field in request.fields.iter() {
        match field.kind {
            FieldKind::Other if !request.fields.is_nominated(&field) => {
                text::field(out, field.name, field.value);
            }
            FieldKind::Custom(ProxyField::Forwarded) if identity.is_trusted => {
                is_forwarded = true;
                if !request.fields.is_nominated(&field) {
                    text::field(out, field.name, field.value);
                }
            }
            FieldKind::Custom(ProxyField::RequestId) if field.value == id.as_bytes() => id_name = field.name,
            FieldKind::Host => text::field(out, field.name, host),
            FieldKind::ContentLength => {
                has_length = true;
                text::number(out, field.name, length(request.framing));
            }
            FieldKind::TransferEncoding => text::field(out, field.name, b"chunked"),
            // It may come in several lines.
            FieldKind::Expect if expects_continue(request) && !has_expect => {
                has_expect = true;
                text::field(out, field.name, b"100-continue");
            }
            // It may come in several lines as well.
            FieldKind::Te if request.takes_trailers && !has_te && !request.upgrades => {
                has_te = true;
                text::field(out, field.name, b"trailers");
            }
            FieldKind::Trailer if sends_trailers(request) => text::field(out, field.name, field.value),
            _ => {}
        }
    }
    if !has_length && request.framing == Framing::Empty && announces_length(request.method) {
        text::field(out, b"Content-Length", b"0");
    }
    text::field(out, id_name, id.as_bytes());
    if !is_forwarded {
        text::field(out, b"X-Forwarded-Proto", if identity.is_tls { b"https" } else { b"http" });
        text::field(out, b"X-Forwarded-Host", host);
    }
    forwarded::write_forwarded_for(out, &request.fields, identity);
    if request.upgrades {
        write_upgrade(out, request);
    } else if has_te {
        // It ends at each connection, and is asked for anew (RFC 9110, section 10.1.4).
        text::field(out, b"Connection", b"TE");
    }
    out.extend_from_slice(b"\r\n");
}

/// The length of a body that has one; 0 for none.
fn length(framing: Framing) -> u64 {
    match framing {
        Framing::Length(length) => length,
        Framing::Empty | Framing::Chunked | Framing::UntilClose => 0,
    }
}

/// Is the worker asked whether it wants the body?
fn expects_continue(request: &RequestHead<'_, ProxyField>) -> bool {
    request.expects_continue && request.framing != Framing::Empty
}

/// Does the worker get what trailers the client sends?
pub(crate) fn sends_trailers(request: &RequestHead<'_, ProxyField>) -> bool {
    request.framing == Framing::Chunked && !request.nominates()
}

/// Methods whose requests say that they have no body (RFC 9110, section 8.6).
fn announces_length(method: &[u8]) -> bool {
    matches!(method, b"POST" | b"PUT" | b"PATCH")
}

/// Appends the request to upgrade: `Connection` without what else it named, and the
/// protocols of all lines as one list (RFC 9110, sections 5.3 and 7.8).
fn write_upgrade(out: &mut Vec<u8>, request: &RequestHead<'_, ProxyField>) {
    let named = |kind| request.fields.iter().filter(move |field| field.kind == kind);
    let connection = named(FieldKind::Connection).next();
    text::field(out, connection.map_or(b"Connection".as_slice(), |field| field.name), b"upgrade");
    let mut separator: Option<&[u8]> = None;
    for field in named(FieldKind::Upgrade).filter(|field| !field.value.is_empty()) {
        if separator.is_none() {
            out.extend_from_slice(field.name);
        }
        out.extend_from_slice(separator.unwrap_or(b": "));
        out.extend_from_slice(field.value);
        separator = Some(b", ");
    }
    if separator.is_some() {
        out.extend_from_slice(b"\r\n");
    }
}
