//! What compression changes in a head.

use balancer_http1::Fields;

use crate::compression::Rewrite;
use crate::field::ProxyField;
use crate::text;

const ACCEPT_ENCODING: &[u8] = b"Accept-Encoding";

/// Writes fields as compression wants them.
pub(super) struct Rewriting {
    rewrite: Rewrite,
    /// `Vary` has yet to name the field by which the coding was chosen.
    has_to_vary: bool,
}

impl Rewriting {
    /// `None` where nothing changes.
    pub(super) fn new(rewrite: Rewrite, fields: &Fields<'_, ProxyField>) -> Option<Self> {
        if rewrite == Rewrite::None {
            return None;
        }
        let varies = |value: &[u8]| {
            let mut names = value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
            names.any(|name| name == b"*" || name.eq_ignore_ascii_case(ACCEPT_ENCODING))
        };
        let mut lines = fields.iter().filter(|field| field.name.eq_ignore_ascii_case(b"vary"));
        Some(Self { rewrite, has_to_vary: !lines.any(|line| varies(line.value)) })
    }

    /// Appends a field, or what becomes of it.
    pub(super) fn field(&mut self, out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        let is_encoded = self.rewrite.coding().is_some();
        // Ranges would be of other bytes than those that clients get.
        if is_encoded && is(b"accept-ranges") {
            return;
        }
        if self.has_to_vary && is(b"vary") {
            self.has_to_vary = false;
            let separator: &[u8] = if value.is_empty() { b"" } else { b", " };
            return text::field(out, name, &[value, separator, ACCEPT_ENCODING].concat());
        }
        // The bytes are others, with the same meaning (RFC 9110, section 8.8.1).
        let weakens = is_encoded || self.rewrite == Rewrite::Revalidated;
        if weakens && value.starts_with(b"\"") && is(b"etag") {
            return text::field(out, name, &[b"W/", value].concat());
        }
        text::field(out, name, value);
    }

    /// Appends what the fields do not have.
    pub(super) fn end(self, out: &mut Vec<u8>) {
        if let Some(coding) = self.rewrite.coding() {
            text::field(out, b"Content-Encoding", coding.name().as_bytes());
        }
        if self.has_to_vary {
            text::field(out, b"Vary", ACCEPT_ENCODING);
        }
    }
}
