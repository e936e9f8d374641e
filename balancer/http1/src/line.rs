//! Lines of a head.

/// Where a line stands in its head, without its end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line {
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// Where the next line begins.
    pub(crate) next: usize,
}

/// The line that begins at `start`, in a head whose lines all end in CR LF.
#[inline]
pub(crate) fn line_at(head: &[u8], start: usize) -> Line {
    let length = head[start..].iter().position(|&byte| byte == b'\n').unwrap_or(head.len() - start);
    let end = start + length;
    Line { start, end: end.saturating_sub(1).max(start), next: (end + 1).min(head.len()) }
}
