//! Which responses are compressed, and what becomes of their heads. Plain functions without
//! I/O.

use balancer_http1::{FieldKind, Framing, ResponseHead};

use super::coding::Coding;
use super::negotiation::Negotiation;
use crate::field::ProxyField;

/// Shorter bodies stay as they are, in bytes: they fit into one packet either way.
const SHORTEST: u64 = 1024;

/// What becomes of a head because of compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rewrite {
    #[default]
    None,
    /// Another client could get it compressed: caches are told (RFC 9110, section 12.5.5).
    Vary,
    /// It says that what the client has is still good, and that was compressed: the entity tag
    /// is weak, as the one that the client has.
    Revalidated,
    /// The body is compressed.
    Encode(Coding),
}

impl Rewrite {
    /// Is the body compressed?
    pub(crate) fn coding(self) -> Option<Coding> {
        match self {
            Self::Encode(coding) => Some(coding),
            Self::None | Self::Vary | Self::Revalidated => None,
        }
    }
}

/// Decides about `response`; `to_head` when it answers a HEAD request, whose head is that of
/// the response to GET where its length is known.
pub(crate) fn decide(
    response: &ResponseHead<'_, ProxyField>,
    negotiation: Negotiation,
    to_head: bool,
) -> Rewrite {
    match response.status {
        // No content, or part of it (RFC 9110, sections 14 and 15).
        0..=199 | 204..=206 | 416 => return Rewrite::None,
        304 if negotiation.has_weak_tag && negotiation.coding.is_some() => return Rewrite::Revalidated,
        304 => return Rewrite::None,
        _ => {}
    }
    let facts = Facts::of(response);
    if !facts.is_compressible || facts.is_final || !is_long_enough(response.framing, &facts, to_head) {
        return Rewrite::None;
    }
    negotiation.coding.map_or(Rewrite::Vary, Rewrite::Encode)
}

/// Is the body long enough, or its length not known? A HEAD request says the length or that
/// it is not known, or it says nothing.
fn is_long_enough(framing: Framing, facts: &Facts, to_head: bool) -> bool {
    match framing {
        Framing::Length(length) => length >= SHORTEST,
        Framing::Chunked | Framing::UntilClose => true,
        Framing::Empty => {
            to_head && (facts.length.is_some_and(|length| length >= SHORTEST) || facts.is_chunked)
        }
    }
}

/// What the fields of a response say.
#[derive(Debug, Default)]
struct Facts {
    is_compressible: bool,
    /// It must stay as it is, or has a coding already.
    is_final: bool,
    /// As the field says it, also in the response to HEAD.
    length: Option<u64>,
    is_chunked: bool,
}

impl Facts {
    fn of(response: &ResponseHead<'_, ProxyField>) -> Self {
        let mut facts = Self::default();
        for field in response.fields.iter() {
            match field.kind {
                FieldKind::ContentLength => {
                    facts.length = std::str::from_utf8(field.value).ok().and_then(|text| text.parse().ok());
                }
                FieldKind::TransferEncoding => facts.is_chunked = true,
                // What follows the body may be of its bytes.
                FieldKind::Trailer => facts.is_final = true,
                FieldKind::Other => facts.read(field.name, field.value),
                _ => {}
            }
        }
        facts
    }

    fn read(&mut self, name: &[u8], value: &[u8]) {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        match name.len() {
            12 if is("content-type") => self.is_compressible = is_compressible(value),
            // A program that says "identity" wants none.
            16 if is("content-encoding") => self.is_final = true,
            13 if is("content-range") => self.is_final = true,
            // RFC 9110, section 7.7.
            13 if is("cache-control") => {
                let mut directives = value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
                self.is_final |= directives.any(|one| one.eq_ignore_ascii_case(b"no-transform"));
            }
            // They are of the bytes as they are (RFC 9530; RFC 1864).
            14 if is("content-digest") => self.is_final = true,
            11 if is("repr-digest") || is("content-md5") => self.is_final = true,
            6 if is("digest") => self.is_final = true,
            _ => {}
        }
    }
}

/// Media types beside those whose names say that they are text. Fonts, images and archives
/// that are missing here are compressed already.
const COMPRESSIBLE: [&str; 26] = [
    "application/ecmascript",
    "application/graphql",
    "application/javascript",
    "application/json",
    "application/json-seq",
    "application/jsonl",
    "application/ndjson",
    "application/rtf",
    "application/sql",
    "application/toml",
    "application/vnd.ms-fontobject",
    "application/wasm",
    "application/x-font-ttf",
    "application/x-javascript",
    "application/x-ndjson",
    "application/x-protobuf",
    "application/x-sh",
    "application/x-yaml",
    "application/xml",
    "application/yaml",
    "font/collection",
    "font/otf",
    "font/sfnt",
    "font/ttf",
    "image/bmp",
    "image/x-icon",
];

/// Is it worth it for a body of this `Content-Type`? Event streams are not, as each event is
/// sent by itself, and gRPC compresses its messages itself.
fn is_compressible(content_type: &[u8]) -> bool {
    let media_type = content_type.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
    let begins = |with: &str| {
        media_type.get(..with.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(with.as_bytes()))
    };
    let ends = |with: &str| {
        let at = media_type.len().saturating_sub(with.len());
        media_type[at..].eq_ignore_ascii_case(with.as_bytes())
    };
    let is = |name: &str| media_type.eq_ignore_ascii_case(name.as_bytes());
    if is("text/event-stream") || begins("application/grpc") {
        return false;
    }
    begins("text/")
        || ends("+json")
        || ends("+xml")
        || ends("+yaml")
        || COMPRESSIBLE.into_iter().any(is)
        || is("image/vnd.microsoft.icon")
}

#[cfg(test)]
mod tests {
    use balancer_http1::FieldBuffer;

    use super::*;

    const ANY: Negotiation = Negotiation { coding: Some(Coding::Gzip), has_weak_tag: false };
    const NONE: Negotiation = Negotiation { coding: None, has_weak_tag: false };
    const ENCODED: Rewrite = Rewrite::Encode(Coding::Gzip);

    fn decided(response: &str, negotiation: Negotiation, to_head: bool) -> Rewrite {
        let head = format!("HTTP/1.1 {response}\r\n\r\n");
        let mut buffer = FieldBuffer::default();
        let response = ResponseHead::parse(head.as_bytes(), to_head, &mut buffer).unwrap();
        decide(&response, negotiation, to_head)
    }

    #[test]
    fn text_is_compressed_and_caches_are_told_where_it_is_not() {
        for media_type in [
            "text/html",
            "Text/Plain; charset=utf-8",
            "application/json",
            "application/problem+json",
            "image/svg+xml",
            "application/javascript",
            "application/wasm",
            "font/ttf",
            "application/x-ndjson",
        ] {
            let response = format!("200 OK\r\nContent-Length: 1024\r\ncontent-type: {media_type}");
            assert_eq!(decided(&response, ANY, false), ENCODED, "{media_type}");
            assert_eq!(decided(&response, NONE, false), Rewrite::Vary, "{media_type}");
        }
        for status in ["201 Created", "404 Not Found", "500 Failed", "203 Other"] {
            let response = format!("{status}\r\nContent-Length: 9999\r\nContent-Type: text/html");
            assert_eq!(decided(&response, ANY, false), ENCODED, "{status}");
        }
        for framing in ["Transfer-Encoding: chunked", "Connection: close"] {
            let response = format!("200 OK\r\n{framing}\r\nContent-Type: text/html");
            assert_eq!(decided(&response, ANY, false), ENCODED, "{framing}");
        }
    }

    #[test]
    fn what_is_compressed_already_or_must_not_be_changed_stays() {
        for response in [
            "200 OK\r\nContent-Length: 9999",
            "200 OK\r\nContent-Length: 9999\r\nContent-Type: image/png",
            "200 OK\r\nContent-Length: 9999\r\nContent-Type: font/woff2",
            "200 OK\r\nContent-Length: 9999\r\nContent-Type: application/grpc",
            "200 OK\r\nContent-Length: 9999\r\nContent-Type: application/grpc+json",
            "200 OK\r\nContent-Length: 9999\r\nContent-Type: textual/html",
            "200 OK\r\nContent-Length: 9999\r\nContent-Type:",
            "200 OK\r\nContent-Length: 1023\r\nContent-Type: text/html",
            "200 OK\r\nContent-Length: 0\r\nContent-Type: text/html",
            "200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: Text/Event-Stream; charset=utf-8",
            "200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/html\r\nContent-Encoding: br",
            "200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/html\r\nContent-Encoding: identity",
            "200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/html\r\nCache-Control: a, No-Transform",
            "200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/html\r\nContent-Digest: sha-256=:a:",
            "200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/html\r\nTrailer: X-Sum",
            "200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/html\r\nContent-Range: bytes 0-1/2",
            "206 Partial\r\nContent-Length: 9999\r\nContent-Type: text/html",
            "416 Wrong Range\r\nContent-Length: 9999\r\nContent-Type: text/html",
            "204 No Content\r\nContent-Type: text/html",
            "304 Not Modified\r\nContent-Length: 9999\r\nContent-Type: text/html",
        ] {
            for negotiation in [ANY, NONE] {
                assert_eq!(decided(response, negotiation, false), Rewrite::None, "{response}");
            }
        }
        let other = "200 OK\r\nContent-Length: 9999\r\nContent-Type: text/html\r\nCache-Control: max-age=1";
        assert_eq!(decided(other, ANY, false), ENCODED);
    }

    #[test]
    fn the_head_alone_is_that_of_the_whole_response_where_it_is_known() {
        for (fields, expected) in [
            ("Content-Length: 1024", ENCODED),
            ("Content-Length: 1023", Rewrite::None),
            ("Transfer-Encoding: chunked", ENCODED),
            ("X: y", Rewrite::None),
        ] {
            let response = format!("200 OK\r\n{fields}\r\nContent-Type: text/html");
            assert_eq!(decided(&response, ANY, true), expected, "{fields}");
        }
    }

    #[test]
    fn what_a_client_has_compressed_is_still_good_by_the_tag_that_it_knows() {
        let weak = |negotiation| Negotiation { has_weak_tag: true, ..negotiation };
        let response = "304 Not Modified\r\nETag: \"a\"";
        assert_eq!(decided(response, weak(ANY), false), Rewrite::Revalidated);
        assert_eq!(decided(response, weak(NONE), false), Rewrite::None);
        assert_eq!(decided(response, ANY, false), Rewrite::None);
    }
}
