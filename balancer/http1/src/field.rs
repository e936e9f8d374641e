//! Header fields, read in one pass and kept as offsets into the head: a head that
//! is read into a buffer needs no copy.

use crate::error::HttpError;
use crate::kind::{CustomField, FieldKind};
use crate::semantics::Semantics;
use crate::syntax::{self, trim};

/// Part of a head. Heads are far below 4 GiB ([`scan`](crate::scan)).
#[derive(Debug, Clone, Copy)]
struct Span {
    start: u32,
    end: u32,
}

impl Span {
    #[inline]
    fn new(start: usize, end: usize) -> Self {
        debug_assert!(start <= end && u32::try_from(end).is_ok());
        Self { start: start as u32, end: end as u32 }
    }

    #[inline]
    fn of(self, head: &[u8]) -> &[u8] {
        &head[self.start as usize..self.end as usize]
    }
}

#[derive(Debug, Clone, Copy)]
struct FieldLine<C> {
    name: Span,
    value: Span,
    kind: FieldKind<C>,
}

/// Room for this many fields is kept for the next head: hardly any has more, and a
/// connection that lasts must not keep what its largest head needed.
const MAX_KEPT: usize = 128;

/// Memory for the fields of one head at a time.
#[derive(Debug)]
pub struct FieldBuffer<C>(Vec<FieldLine<C>>);

impl<C> Default for FieldBuffer<C> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// One header field.
#[derive(Debug, Clone, Copy)]
pub struct Field<'h, C> {
    pub name: &'h [u8],
    /// Without white space around it.
    pub value: &'h [u8],
    pub kind: FieldKind<C>,
}

/// The fields of a head, in order.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'h, C> {
    head: &'h [u8],
    lines: &'h [FieldLine<C>],
    /// `Connection` names fields that end at this connection.
    nominates: bool,
}

impl<'h, C: CustomField> Fields<'h, C> {
    #[inline]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Field<'h, C>> + ExactSizeIterator + use<'h, C> {
        let head = self.head;
        self.lines.iter().map(move |line| Field {
            name: line.name.of(head),
            value: line.value.of(head),
            kind: line.kind,
        })
    }

    /// The value of the last field of the caller's kind `custom`.
    #[inline]
    pub fn last(&self, custom: C) -> Option<&'h [u8]> {
        let line = self.lines.iter().rfind(|line| line.kind == FieldKind::Custom(custom))?;
        Some(line.value.of(self.head))
    }

    /// The value of the first field with this name, which is given in any case.
    pub fn first_named(&self, name: &[u8]) -> Option<&'h [u8]> {
        self.iter().find(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
    }

    /// Does one of the `Connection` fields name this field, so that it ends here
    /// (RFC 9110, section 7.6.1)? Fields that frame or route the message cannot be
    /// named away.
    #[inline]
    pub fn is_nominated(&self, field: &Field<'_, C>) -> bool {
        self.nominates
            && matches!(field.kind, FieldKind::Other | FieldKind::Custom(_))
            && self
                .lines
                .iter()
                .filter(|line| line.kind == FieldKind::Connection)
                .flat_map(|line| syntax::list(line.value.of(self.head)))
                .any(|option| option.eq_ignore_ascii_case(field.name))
    }
}

/// Reads the field lines from `at` up to the empty one. The scanner has counted them.
///
/// # Errors
/// For a malformed line, and for fields that contradict each other.
pub(crate) fn read<'h, C: CustomField>(
    head: &'h [u8],
    mut at: usize,
    buffer: &'h mut FieldBuffer<C>,
) -> Result<(Fields<'h, C>, Semantics<'h>), HttpError> {
    let FieldBuffer(lines) = buffer;
    lines.clear();
    lines.shrink_to(MAX_KEPT);
    let mut semantics = Semantics::default();
    while !head[at..].starts_with(b"\r\n") {
        let (field, next) = read_line::<C>(head, at)?;
        semantics.add(field.kind, field.value.of(head))?;
        lines.push(field);
        at = next;
    }
    Ok((Fields { head, lines, nominates: semantics.connection.nominates }, semantics))
}

/// Reads the field line at `start`, each byte once. Returns where the next one begins.
fn read_line<C: CustomField>(head: &[u8], start: usize) -> Result<(FieldLine<C>, usize), HttpError> {
    let line = &head[start..];
    let colon = syntax::token_length(line);
    if colon == 0 || line.get(colon) != Some(&b':') {
        return Err(malformed_name(line));
    }
    let after = &line[colon + 1..];
    let length = syntax::value_length(after);
    if !after[length..].starts_with(b"\r\n") {
        return Err(HttpError::bad("a field's value has a control character"));
    }
    let lead = after[..length].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let value = trim(&after[lead..length]);
    let from = start + colon + 1 + lead;
    let field = FieldLine {
        name: Span::new(start, start + colon),
        value: Span::new(from, from + value.len()),
        kind: FieldKind::of(&line[..colon]),
    };
    Ok((field, start + colon + 1 + length + 2))
}

/// What is wrong with a line that does not begin with a name and a colon.
#[cold]
fn malformed_name(line: &[u8]) -> HttpError {
    let mut rest = line.split(|&byte| byte == b'\n');
    if matches!(line, [b' ' | b'\t', ..]) {
        HttpError::bad("a field is folded over two lines")
    } else if rest.next().is_some_and(|line| line.contains(&b':')) {
        HttpError::bad("a field's name is empty or has a space or another character that is not allowed")
    } else {
        HttpError::bad("a line of the head has no colon and is no field")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::tests::Custom;

    #[test]
    fn fields_are_found_by_kind_and_name_and_the_buffer_is_reused() {
        let mut buffer = FieldBuffer::default();
        let head = b"A:  1 \r\nx-custom: first\r\nX-Custom:\tlast\r\na: 2\r\n\r\n";
        let (fields, _) = read::<Custom>(head, 0, &mut buffer).unwrap();
        assert_eq!(fields.iter().len(), 4);
        assert_eq!(fields.last(Custom), Some(b"last".as_slice()));
        assert_eq!(fields.first_named(b"a"), Some(b"1".as_slice()));
        let (fields, _) = read::<Custom>(b"B: 3\r\n\r\n", 0, &mut buffer).unwrap();
        assert_eq!(fields.iter().map(|field| field.value).collect::<Vec<_>>(), [b"3"]);
        assert_eq!(fields.last(Custom), None);
    }

    #[test]
    fn connection_nominates_what_does_not_frame_or_route() {
        let mut buffer = FieldBuffer::default();
        let head = b"Connection: x-a , host,, X-Custom\r\nX-A: 1\r\nHost: a\r\nX-Custom: 2\r\nX-B: 3\r\n\r\n";
        let (fields, _) = read::<Custom>(head, 0, &mut buffer).unwrap();
        let nominated: Vec<_> = fields.iter().filter(|field| fields.is_nominated(field)).collect();
        assert_eq!(nominated.iter().map(|field| field.name).collect::<Vec<_>>(), [&b"X-A"[..], b"X-Custom"]);
    }
}
