//! Heads of answers, as workers send them (RFC 9112, sections 4 and 6.3).

use super::request::{Read, read_fields, split_line};
use super::{ConnectionOptions, Field, Framing, HttpError, Span};

#[derive(Debug)]
pub struct ResponseHead {
    pub status: u16,
    /// Status code and phrase.
    pub status_line: Span,
    pub fields: Vec<Field>,
    pub framing: Framing,
    pub connection: ConnectionOptions,
    pub upgrade: Option<Span>,
    is_1_1: bool,
}

impl ResponseHead {
    /// Reads `head`; `to_head` when it answers a HEAD request.
    ///
    /// # Errors
    /// For an answer that two readers could frame differently.
    pub fn parse(head: &[u8], to_head: bool, mut fields: Vec<Field>) -> Result<Self, HttpError> {
        let ((start, end), rest) = split_line(head, 0);
        let (is_1_1, status) = status_line(&head[start..end])
            .ok_or(HttpError::bad("the status line is not a version and a code"))?;
        fields.clear();
        read_fields(head, rest, &mut fields)?;
        let read = Read::of(head, &fields)?;
        let framing = if to_head || status < 200 || status == 204 || status == 304 {
            Framing::Empty
        } else {
            match read.framing(is_1_1)? {
                Framing::Empty if read.length().is_none() => Framing::UntilClose,
                framing => framing,
            }
        };
        Ok(Self {
            status,
            status_line: Span::of(start + "HTTP/1.1 ".len(), end),
            fields,
            framing,
            connection: read.connection,
            upgrade: read.upgrade,
            is_1_1,
        })
    }

    /// May the connection carry another request once this answer is complete?
    pub fn keeps_alive(&self) -> bool {
        let persistent = !self.connection.close && (self.is_1_1 || self.connection.keep_alive);
        persistent && self.framing != Framing::UntilClose
    }
}

fn status_line(line: &[u8]) -> Option<(bool, u16)> {
    let rest = line.strip_prefix(b"HTTP/1.")?;
    let [minor @ b'0'..=b'9', b' ', a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', phrase @ ..] = rest
    else {
        return None;
    };
    let phrase_fits = match phrase {
        [] => true,
        [b' ', text @ ..] => super::syntax::is_value(text),
        _ => false,
    };
    let digit = |byte: &u8| u16::from(byte - b'0');
    phrase_fits.then(|| (*minor != b'0', digit(a) * 100 + digit(b) * 10 + digit(c)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, to_head: bool) -> Option<ResponseHead> {
        ResponseHead::parse(text.as_bytes(), to_head, vec![]).ok()
    }

    fn framing(text: &str) -> Option<Framing> {
        parse(text, false).map(|response| response.framing)
    }

    #[test]
    fn bodies_follow_status_request_and_fields() {
        assert_eq!(framing("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), Some(Framing::Empty));
        assert_eq!(framing("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n"), Some(Framing::Length(7)));
        assert_eq!(framing("HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n"), Some(Framing::Chunked));
        assert_eq!(framing("HTTP/1.1 200 OK\r\n\r\n"), Some(Framing::UntilClose));
        assert_eq!(framing("HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n"), Some(Framing::Empty));
        assert_eq!(framing("HTTP/1.1 100 Continue\r\n\r\n"), Some(Framing::Empty));
        let head = parse("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", true).unwrap();
        assert_eq!(head.framing, Framing::Empty);
        assert!(head.keeps_alive());
    }

    #[test]
    fn ambiguous_answers_are_refused() {
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
            assert!(parse(bad, false).is_none(), "{bad}");
        }
    }
}
