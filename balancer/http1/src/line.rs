//! The first line of a head.

/// The first line of `head` without its CR LF, and where the next line begins.
#[inline]
pub(crate) fn first_line(head: &[u8]) -> (&[u8], usize) {
    let end = head.iter().position(|&byte| byte == b'\n').unwrap_or(head.len());
    (&head[..end.saturating_sub(1)], (end + 1).min(head.len()))
}
