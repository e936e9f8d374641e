//! Heads of responses, as workers send them (RFC 9112, sections 4 and 6.3).

use crate::connection::ConnectionOptions;
use crate::error::HttpError;
use crate::field::{self, FieldBuffer, Fields};
use crate::framing::Framing;
use crate::kind::CustomField;
use crate::line::first_line;
use crate::semantics::Semantics;
use crate::syntax;

/// The head of a response, as a view of its bytes.
#[derive(Debug)]
pub struct ResponseHead<'h, C> {
    pub status: u16,
    /// Status code and reason phrase.
    pub status_line: &'h [u8],
    pub fields: Fields<'h, C>,
    pub framing: Framing,
    connection: ConnectionOptions,
    keep_alive_timeout: Option<u64>,
    is_1_1: bool,
    /// It announces a body that it must not have (RFC 9110, section 15.3.5): if that
    /// comes all the same, it comes where the next response would begin.
    has_forbidden_body: bool,
}

impl<'h, C: CustomField> ResponseHead<'h, C> {
    /// Reads `head`, whose end [`Scanner`](crate::scan::Scanner) has found; `to_head`
    /// when it answers a HEAD request. `buffer` lends the memory for its fields.
    ///
    /// # Errors
    /// For a response that two readers could frame differently.
    pub fn parse(head: &'h [u8], to_head: bool, buffer: &'h mut FieldBuffer<C>) -> Result<Self, HttpError> {
        let (line, next) = first_line(head);
        let (is_1_1, status) =
            status_line(line).ok_or(HttpError::bad("the status line is not a version and a code"))?;
        let (fields, semantics) = field::read(head, next, buffer)?;
        let framing = if to_head || status < 200 || status == 204 || status == 304 {
            Framing::Empty
        } else {
            match semantics.framing(is_1_1)? {
                Framing::Empty if !semantics.has_length() => Framing::UntilClose,
                framing => framing,
            }
        };
        let status_line = &line["HTTP/1.1 ".len()..];
        let has_forbidden_body = status == 204 && semantics.announces_body();
        let Semantics { connection, keep_alive_timeout, .. } = semantics;
        Ok(Self {
            status,
            status_line,
            fields,
            framing,
            connection,
            keep_alive_timeout,
            is_1_1,
            has_forbidden_body,
        })
    }

    /// Does `Connection` name fields? They end here, wherever they are in the message.
    pub fn nominates(&self) -> bool {
        self.connection.nominates
    }

    /// May the connection carry another request once this response is complete?
    pub fn keeps_alive(&self) -> bool {
        let persistent = !self.connection.close && (self.is_1_1 || self.connection.keep_alive);
        persistent && self.framing != Framing::UntilClose && !self.has_forbidden_body
    }

    /// Seconds for which the sender keeps the idle connection, if it says so (`timeout` of
    /// `Keep-Alive`; RFC 2068, section 19.7.1.1).
    pub fn keep_alive_timeout(&self) -> Option<u64> {
        self.keep_alive_timeout
    }
}

/// Whether the version is 1.1 or higher, and the status code.
fn status_line(line: &[u8]) -> Option<(bool, u16)> {
    let rest = line.strip_prefix(b"HTTP/1.")?;
    let [minor @ b'0'..=b'9', b' ', a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', phrase @ ..] = rest
    else {
        return None;
    };
    let phrase_fits = match phrase {
        [] => true,
        [b' ', text @ ..] => syntax::is_value(text),
        _ => false,
    };
    let digit = |byte: &u8| u16::from(byte - b'0');
    phrase_fits.then(|| (*minor != b'0', digit(a) * 100 + digit(b) * 10 + digit(c)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::tests::Custom;

    fn read<T>(text: &str, to_head: bool, check: impl Fn(ResponseHead<'_, Custom>) -> T) -> Option<T> {
        let mut buffer = FieldBuffer::default();
        ResponseHead::parse(text.as_bytes(), to_head, &mut buffer).map(check).ok()
    }

    fn framing(text: &str) -> Option<Framing> {
        read(text, false, |response| response.framing)
    }

    #[test]
    fn bodies_follow_status_request_and_fields() {
        assert_eq!(framing("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), Some(Framing::Empty));
        assert_eq!(framing("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n"), Some(Framing::Length(7)));
        assert_eq!(framing("HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n"), Some(Framing::Chunked));
        assert_eq!(framing("HTTP/1.1 200 OK\r\n\r\n"), Some(Framing::UntilClose));
        assert_eq!(framing("HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n"), Some(Framing::Empty));
        assert_eq!(framing("HTTP/1.1 100 Continue\r\n\r\n"), Some(Framing::Empty));
        let to_head = read("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", true, |response| {
            (response.framing, response.keeps_alive())
        });
        assert_eq!(to_head, Some((Framing::Empty, true)));
    }

    #[test]
    fn how_long_an_idle_connection_is_kept_may_be_told() {
        let timeout = |value: &str| {
            let text = format!("HTTP/1.1 200 OK\r\nKeep-Alive: {value}\r\n\r\n");
            read(&text, false, |response| response.keep_alive_timeout()).unwrap()
        };
        assert_eq!(timeout("timeout=5"), Some(5));
        assert_eq!(timeout("max=100, TIMEOUT = \"72\""), Some(72));
        assert_eq!(timeout("timeout=0"), Some(0));
        for unknown in ["", "timeout", "timeout=", "timeout=-1", "timeout=5s", "max=5", "300"] {
            assert_eq!(timeout(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn ambiguous_responses_are_refused() {
        for bad in [
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/2.0 200 OK\r\n\r\n",
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/1.1 2000 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nName : x\r\n\r\n",
        ] {
            assert!(read(bad, false, |_| ()).is_none(), "{bad}");
        }
    }
}
