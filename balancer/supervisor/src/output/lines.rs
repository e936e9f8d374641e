//! A stream of bytes as lines, and in parts where a line is long or its end does not come.

use std::time::Duration;

use tokio::time::Instant;

use super::settings::OutputMode;

/// Bytes of a part of a line, at most.
pub(crate) const PART: usize = 16 * 1024;
/// Bytes of a line that are collected where only a whole line will do: untouched lines,
/// which others must not come in between, and JSON objects.
pub(crate) const WHOLE: usize = 1024 * 1024;
/// How long a line may lack its end before what there is of it is shown: a progress bar, or
/// a question.
const PATIENCE: Duration = Duration::from_secs(1);
/// The same for what begins as a JSON object, of which a part is of no use.
const OBJECT_PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of an escape sequence that is not cut in two.
const SEQUENCE: usize = 32;

/// A line, or a part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece<'a> {
    /// Without the line feed.
    pub(crate) text: &'a [u8],
    pub(crate) end: End,
}

/// What follows a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    LineFeed,
    /// The rest of its line.
    Rest,
    /// Nothing ever.
    Stream,
}

/// Takes a piece.
pub(crate) type Take<'a> = &'a mut dyn FnMut(Piece<'_>);

/// What was read of a stream and is not passed on yet.
#[derive(Debug)]
pub(crate) struct Lines {
    mode: OutputMode,
    pending: Vec<u8>,
    /// Bytes of `pending` that hold no line feed.
    searched: usize,
    /// `pending` is the rest of a line of which a part was passed on.
    continued: bool,
    /// When what is pending is passed on without its end.
    pub(crate) deadline: Option<Instant>,
}

impl Lines {
    pub(crate) fn new(mode: OutputMode) -> Self {
        Self { mode, pending: Vec::new(), searched: 0, continued: false, deadline: None }
    }

    /// Where up to `size` bytes, or a little more, are to be read to.
    pub(crate) fn buffer(&mut self, size: usize) -> &mut Vec<u8> {
        self.pending.reserve(size);
        &mut self.pending
    }

    /// Passes on all whole lines, and parts of a long one.
    pub(crate) fn take_whole(&mut self, now: Instant, take: Take<'_>) {
        let mut start = 0;
        while let Some(found) = memchr::memchr(b'\n', &self.pending[start.max(self.searched)..]) {
            let end = start.max(self.searched) + found;
            take(Piece { text: &self.pending[start..end], end: End::LineFeed });
            self.continued = false;
            start = end + 1;
        }
        while let rest = &self.pending[start..]
            && let limit = self.limit(rest)
            && rest.len() > limit
        {
            let cut = boundary(rest, limit);
            take(Piece { text: &rest[..cut], end: End::Rest });
            self.continued = true;
            start += cut;
        }
        self.forget(start);
        if self.pending.is_empty() {
            self.deadline = None;
        } else if start > 0 || self.deadline.is_none() {
            let is_object = self.mode == OutputMode::Merge && self.may_be_object(&self.pending);
            self.deadline = Some(now + if is_object { OBJECT_PATIENCE } else { PATIENCE });
        }
    }

    /// Passes on what is there of a line whose end does not come.
    pub(crate) fn take_partial(&mut self, take: Take<'_>) {
        self.deadline = None;
        let cut = boundary(&self.pending, self.pending.len());
        if cut > 0 {
            take(Piece { text: &self.pending[..cut], end: End::Rest });
            self.continued = true;
            self.forget(cut);
        }
    }

    /// Passes on what is left at the end of the stream.
    pub(crate) fn finish(&mut self, take: Take<'_>) {
        self.deadline = None;
        if self.continued || !self.pending.is_empty() {
            take(Piece { text: &self.pending, end: End::Stream });
        }
        self.continued = false;
        self.forget(self.pending.len());
    }

    fn forget(&mut self, count: usize) {
        if count == self.pending.len() {
            // What a flood took is given back; the next read takes what it needs.
            self.pending = Vec::new();
        } else {
            self.pending.drain(..count);
        }
        self.searched = self.pending.len();
    }

    fn limit(&self, rest: &[u8]) -> usize {
        match self.mode {
            OutputMode::Raw => WHOLE,
            OutputMode::Merge if self.may_be_object(rest) => WHOLE,
            OutputMode::Merge | OutputMode::Tagged => PART,
        }
    }

    fn may_be_object(&self, rest: &[u8]) -> bool {
        !self.continued && rest.trim_ascii_start().starts_with(b"{")
    }
}

/// Where `text` may be cut so that the first part has at most `limit` bytes, and neither a
/// character of UTF-8 nor an escape sequence is cut in two; above zero unless `limit` is zero.
pub(crate) fn boundary(text: &[u8], limit: usize) -> usize {
    let head = &text[..limit.min(text.len())];
    let begins = |&byte: &u8| byte >= 0xc0;
    let last = head.iter().rposition(begins).filter(|&at| head.len() - at < 4);
    let mut cut = head.len();
    if let Some(at) = last {
        let length = match head[at] {
            ..0xe0 => 2,
            0xe0..0xf0 => 3,
            _ => 4,
        };
        // Only what may go on is incomplete; bytes that are no UTF-8 are cut anywhere.
        if at + length > cut && head[at + 1..].iter().all(|byte| byte & 0xc0 == 0x80) {
            cut = at;
        }
    }
    if let Some(escape) = head[..cut].iter().rposition(|&byte| byte == 0x1b)
        && cut - escape <= SEQUENCE
    {
        let is_complete = match &head[escape + 1..cut] {
            [b'[', parameters @ ..] => parameters.iter().any(|byte| matches!(byte, b'@'..=b'~')),
            rest => !rest.is_empty(),
        };
        cut = if is_complete { cut } else { escape };
    }
    if cut == 0 { head.len() } else { cut }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes out of `input` when it is read in pieces of `size` bytes.
    fn pieces(mode: OutputMode, input: &[u8], size: usize) -> Vec<(Vec<u8>, End)> {
        let (mut lines, mut all) = (Lines::new(mode), Vec::new());
        let mut take = |piece: Piece<'_>| all.push((piece.text.to_vec(), piece.end));
        for part in input.chunks(size) {
            lines.buffer(part.len()).extend_from_slice(part);
            lines.take_whole(Instant::now(), &mut take);
            assert_eq!(lines.deadline.is_some(), !lines.pending.is_empty());
        }
        lines.finish(&mut take);
        all
    }

    #[test]
    fn lines_are_whole_however_they_were_written() {
        for size in [1, 3, 4096] {
            for mode in [OutputMode::Tagged, OutputMode::Raw, OutputMode::Merge] {
                let all = pieces(mode, b"one\ntwo\n\nlast words", size);
                let texts: Vec<_> = all.iter().map(|(text, _)| &text[..]).collect();
                assert_eq!(texts, [&b"one"[..], b"two", b"", b"last words"]);
                assert_eq!((all[2].1, all[3].1), (End::LineFeed, End::Stream));
            }
        }
    }

    #[test]
    fn a_long_line_comes_in_parts_that_are_the_whole_of_it() {
        let line = "ä日🦀\x1b[38;5;3m".repeat(12_000);
        for (mode, limit) in [(OutputMode::Tagged, PART), (OutputMode::Merge, PART), (OutputMode::Raw, WHOLE)]
        {
            for size in [777, 65_536] {
                let all = pieces(mode, format!("{line}\nnext\n").as_bytes(), size);
                let (next, parts) = all.split_last().unwrap();
                assert_eq!(next, &(b"next".to_vec(), End::LineFeed));
                for (text, _) in &parts[..parts.len() - 1] {
                    assert!(text.len() <= limit);
                    let text = std::str::from_utf8(text).unwrap();
                    assert!(!text.trim_end_matches("\x1b[38;5;3m").ends_with(['3', ';', '[', '\x1b']));
                }
                let joined: Vec<u8> = parts.iter().flat_map(|(text, _)| text.clone()).collect();
                assert_eq!(joined, line.as_bytes());
                assert!(parts[..parts.len() - 1].iter().all(|(_, end)| *end == End::Rest));
            }
        }
    }

    #[test]
    fn an_object_is_collected_up_to_a_bound() {
        let object = format!("{{\"a\":\"{}\"}}", "x".repeat(500_000));
        assert_eq!(pieces(OutputMode::Merge, format!("{object}\n").as_bytes(), 9_999).len(), 1);
        let endless = format!("{{\"a\":\"{}", "x".repeat(3 * WHOLE));
        let all = pieces(OutputMode::Merge, endless.as_bytes(), 65_536);
        assert!(all[0].0.len() == WHOLE && all[1].0.len() == PART && all.len() > 100);
    }

    #[test]
    fn bytes_that_are_no_text_are_cut_anywhere_and_none_is_lost() {
        for byte in [0x80, 0xbf, 0xc3, 0xff, 0x1b, 0] {
            let all = pieces(OutputMode::Tagged, &vec![byte; 100_000], 8_192);
            assert_eq!(all.iter().map(|(text, _)| text.len()).sum::<usize>(), 100_000, "{byte:#x}");
            assert!(all.iter().all(|(text, _)| !text.is_empty() && text.len() <= PART));
        }
    }

    #[test]
    fn a_line_whose_end_does_not_come_is_shown_and_goes_on() {
        let (mut lines, mut all) = (Lines::new(OutputMode::Tagged), Vec::new());
        let mut take = |piece: Piece<'_>| all.push((piece.text.to_vec(), piece.end));
        let now = Instant::now();
        lines.buffer(9).extend_from_slice("Name?\n42 %\u{e4}".as_bytes().split_last().unwrap().1);
        lines.take_whole(now, &mut take);
        assert_eq!(lines.deadline, Some(now + PATIENCE));
        lines.take_partial(&mut take);
        assert_eq!(lines.deadline, None);
        lines.buffer(9).extend_from_slice(b"\xa4 done\n");
        lines.take_whole(now, &mut take);
        lines.finish(&mut take);
        let expected = [("Name?", End::LineFeed), ("42 %", End::Rest), ("ä done", End::LineFeed)];
        assert_eq!(all, expected.map(|(text, end)| (text.as_bytes().to_vec(), end)));
    }
}
