//! What the fields of a head say of its message and its connection.

use crate::connection::ConnectionOptions;
use crate::error::HttpError;
use crate::framing::Framing;
use crate::kind::FieldKind;
use crate::syntax;

/// Collected while the fields are read.
#[derive(Debug, Default)]
pub(crate) struct Semantics<'h> {
    host: Option<&'h [u8]>,
    hosts: usize,
    content_length: Option<u64>,
    transfer_encodings: usize,
    is_chunked: bool,
    pub(crate) connection: ConnectionOptions,
    /// Seconds for which the sender keeps an idle connection, as `Keep-Alive` says.
    pub(crate) keep_alive_timeout: Option<u64>,
    pub(crate) has_upgrade: bool,
    /// One of the protocols to upgrade to is HTTP/2.
    pub(crate) offers_h2c: bool,
    pub(crate) expects_continue: bool,
    pub(crate) has_unknown_expectation: bool,
    /// The sender does something with trailers.
    pub(crate) takes_trailers: bool,
}

impl<'h> Semantics<'h> {
    /// Adds one field.
    ///
    /// # Errors
    /// When the field contradicts itself or one before it.
    #[inline]
    pub(crate) fn add<C>(&mut self, kind: FieldKind<C>, value: &'h [u8]) -> Result<(), HttpError> {
        match kind {
            FieldKind::Host => {
                self.host = Some(value);
                self.hosts += 1;
            }
            FieldKind::ContentLength => {
                let length = syntax::content_length(value)
                    .ok_or(HttpError::bad("Content-Length is not one whole number"))?;
                if self.content_length.replace(length).is_some() {
                    return Err(HttpError::bad("there is more than one Content-Length"));
                }
            }
            FieldKind::TransferEncoding => {
                self.transfer_encodings += 1;
                self.is_chunked = value.eq_ignore_ascii_case(b"chunked");
            }
            FieldKind::Connection => self.connection.read(value),
            FieldKind::KeepAlive => self.keep_alive_timeout = syntax::keep_alive_timeout(value),
            FieldKind::Upgrade => {
                // An empty field names no protocol.
                self.has_upgrade |= syntax::list(value).next().is_some();
                self.offers_h2c |= syntax::list(value).any(|protocol| protocol.eq_ignore_ascii_case(b"h2c"));
            }
            FieldKind::Expect if value.eq_ignore_ascii_case(b"100-continue") => self.expects_continue = true,
            FieldKind::Expect => self.has_unknown_expectation = true,
            FieldKind::Te => {
                self.takes_trailers |=
                    syntax::list(value).any(|coding| coding.eq_ignore_ascii_case(b"trailers"));
            }
            FieldKind::HopByHop | FieldKind::Trailer | FieldKind::Custom(_) | FieldKind::Other => {}
        }
        Ok(())
    }

    /// The host that a request names (RFC 9112, section 3.2).
    ///
    /// # Errors
    /// For anything but exactly one valid `Host`, which HTTP/1.0 may leave out.
    pub(crate) fn host(&self, is_1_1: bool) -> Result<Option<&'h [u8]>, HttpError> {
        match (self.host, self.hosts) {
            (Some(host), 1) if syntax::is_host(host) => Ok(Some(host)),
            (Some(_), 1) => Err(HttpError::bad("the Host field names no valid host")),
            (None, _) if is_1_1 => Err(HttpError::bad("an HTTP/1.1 request needs a Host field")),
            (None, _) => Ok(None),
            _ => Err(HttpError::bad("a request has exactly one Host field")),
        }
    }

    /// Is there a `Content-Length`, be it 0?
    pub(crate) fn has_length(&self) -> bool {
        self.content_length.is_some()
    }

    /// Do the fields announce a body that is not empty?
    pub(crate) fn announces_body(&self) -> bool {
        self.transfer_encodings > 0 || self.content_length.is_some_and(|length| length > 0)
    }

    /// How the body is delimited (RFC 9112, section 6.3).
    ///
    /// # Errors
    /// For a message that two readers could frame differently.
    pub(crate) fn framing(&self, is_1_1: bool) -> Result<Framing, HttpError> {
        match (self.transfer_encodings, self.content_length) {
            (0, None | Some(0)) => Ok(Framing::Empty),
            (0, Some(length)) => Ok(Framing::Length(length)),
            (_, Some(_)) => Err(HttpError::bad("Content-Length and Transfer-Encoding contradict each other")),
            (1, None) if self.is_chunked && is_1_1 => Ok(Framing::Chunked),
            (1, None) if self.is_chunked => Err(HttpError::bad("HTTP/1.0 has no Transfer-Encoding")),
            _ => Err(HttpError::bad("the only Transfer-Encoding that is accepted is chunked")),
        }
    }
}
