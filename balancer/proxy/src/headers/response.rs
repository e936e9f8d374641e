//! The head that a client gets.

use shared_protocol::WorkerId;

use balancer_http1::{FieldKind, Framing, ResponseHead};

use super::request_id::RequestId;
use super::rewriting::Rewriting;
use crate::compression::Rewrite;
use crate::field::ProxyField;
use crate::sticky::StickyCookie;
use crate::text;

/// What the balancer adds to a response that it passes on.
#[derive(Debug, Clone, Copy)]
pub struct ResponseHeaders<'a> {
    pub worker: WorkerId,
    pub request_id: &'a RequestId,
    /// How the body goes on. For [`Framing::Empty`] the worker's own length is kept, as
    /// it may be that of the response to a GET request.
    pub framing: Framing,
    /// Trailers may follow.
    pub trailers: bool,
    /// The value of `Connection`, if it is needed.
    pub connection: Option<&'static str>,
    /// The value of `Strict-Transport-Security`, unless the worker has one of its own.
    pub hsts: Option<&'a str>,
    /// Brings the client back to this worker.
    pub cookie: Option<StickyCookie<'a>>,
    /// What compression makes of it.
    pub rewrite: Rewrite,
}

/// Appends the head that a client gets for `response`. Fields stay in their order and keep
/// the names as the worker wrote them; what the balancer adds comes last.
pub fn write_response(
    out: &mut Vec<u8>,
    response: &ResponseHead<'_, ProxyField>,
    headers: ResponseHeaders<'_>,
) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(response.status_line);
    out.extend_from_slice(b"\r\n");
    let is_bodiless = response.status < 200 || response.status == 204;
    let (mut is_framed, mut connection_name) = (false, b"Connection".as_slice());
    let mut rewriting = Rewriting::new(headers.rewrite, &response.fields);
    for field in response.fields.iter() {
        let is_kept = match field.kind {
            FieldKind::ContentLength => match headers.framing {
                Framing::Length(length) => {
                    is_framed = true;
                    text::number(out, field.name, length);
                    false
                }
                Framing::Empty => !is_bodiless && headers.rewrite.coding().is_none(),
                Framing::Chunked | Framing::UntilClose => false,
            },
            FieldKind::TransferEncoding if headers.framing == Framing::Chunked => {
                is_framed = true;
                text::field(out, field.name, b"chunked");
                false
            }
            FieldKind::Connection => {
                connection_name = field.name;
                false
            }
            FieldKind::Upgrade => response.status == 101 || response.status == 426,
            FieldKind::Trailer => headers.trailers,
            FieldKind::Host | FieldKind::Expect | FieldKind::Other => true,
            FieldKind::Custom(ProxyField::ForwardedFor | ProxyField::Forwarded) => true,
            _ => false,
        };
        if is_kept && !response.fields.is_nominated(&field) {
            match &mut rewriting {
                None => text::field(out, field.name, field.value),
                Some(rewriting) => rewriting.field(out, field.name, field.value),
            }
        }
    }
    match headers.framing {
        Framing::Length(length) if !is_framed => text::number(out, b"Content-Length", length),
        Framing::Chunked if !is_framed => text::field(out, b"Transfer-Encoding", b"chunked"),
        _ => {}
    }
    if let Some(rewriting) = rewriting {
        rewriting.end(out);
    }
    text::number(out, text::X_WORKER_ID, u64::from(headers.worker.0));
    text::field(out, text::X_REQUEST_ID, headers.request_id.as_bytes());
    if let Some(hsts) = headers.hsts
        && response.fields.first_named(text::HSTS).is_none()
    {
        text::field(out, text::HSTS, hsts.as_bytes());
    }
    if let Some(cookie) = headers.cookie {
        cookie.write(out);
    }
    if let Some(connection) = headers.connection {
        text::field(out, connection_name, connection.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}
