//! Text of others, of which a terminal is to see nothing but text and, at most, colours:
//! no cursor movement, no titles, no bells (ECMA-48; xterm's operating system commands).

use std::borrow::Cow;

use anstyle_parse::{Params, Parser, Perform};

/// `text` without escape sequences. Other control characters stay: for JSON, whose
/// strings have their own form of them.
pub fn without_codes(text: &str) -> Cow<'_, str> {
    if text.contains('\x1b') { Writer::run(text, false, false).into() } else { text.into() }
}

/// `text` as it may stand on a terminal or in a file: control characters are shown as
/// `cat -v` shows them, and escape sequences are left out, except for those of colours
/// where `colours` says so; the last of these is undone at the end.
pub fn harmless(text: &str, colours: bool) -> Cow<'_, str> {
    // The first byte of the characters U+0080 to U+00BF in UTF-8.
    const LATIN: u8 = 0xc2;
    let suspect = |byte: u8| (byte < b' ' && byte != b'\t') || byte == 0x7f || byte == LATIN;
    if text.bytes().any(suspect) { Writer::run(text, colours, true).into() } else { text.into() }
}

/// Writes what is left of a text.
struct Writer<'a> {
    text: &'a str,
    /// Index of the byte that the parser is at.
    at: usize,
    /// Index of the byte behind the last one of which it is known what it was.
    done: usize,
    /// Index of the last escape character.
    escape: usize,
    out: String,
    colours: bool,
    /// Control characters are made visible.
    carets: bool,
    coloured: bool,
}

impl<'a> Writer<'a> {
    fn run(text: &'a str, colours: bool, carets: bool) -> String {
        let out = String::with_capacity(text.len());
        let mut writer = Self { text, at: 0, done: 0, escape: 0, out, colours, carets, coloured: false };
        let mut parser = <Parser>::new();
        for (at, byte) in text.bytes().enumerate() {
            writer.at = at;
            if byte == 0x1b {
                writer.escape = at;
            }
            parser.advance(&mut writer, byte);
        }
        // What looks like a sequence and never ends is no sequence: nothing of it is lost.
        text[writer.done..].chars().for_each(|c| writer.put(c));
        if writer.coloured {
            writer.out.push_str("\x1b[0m");
        }
        writer.out
    }

    fn put(&mut self, c: char) {
        match c {
            '\t' => self.out.push(c),
            '\x1b' => self.out.push_str("^["),
            '\0'..' ' | '\x7f' if self.carets => {
                self.out.push('^');
                self.out.push(char::from(c as u8 ^ 0x40));
            }
            '\u{80}'..='\u{9f}' if self.carets => self.out.push(char::REPLACEMENT_CHARACTER),
            c => self.out.push(c),
        }
    }

    fn is_done(&mut self) {
        self.done = self.at + 1;
    }
}

impl Perform for Writer<'_> {
    fn print(&mut self, c: char) {
        self.put(c);
        self.is_done();
    }

    fn execute(&mut self, byte: u8) {
        self.put(char::from(byte));
        self.is_done();
    }

    fn csi_dispatch(&mut self, _: &Params, _: &[u8], _: bool, last: u8) {
        let sequence = &self.text[self.escape..=self.at];
        let is_plain = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b';'));
        if self.colours && last == b'm' && sequence.get(2..sequence.len() - 1).is_some_and(is_plain) {
            self.out.push_str(sequence);
            self.coloured = true;
        }
        self.is_done();
    }

    fn esc_dispatch(&mut self, _: &[u8], _: bool, _: u8) {
        self.is_done();
    }

    fn osc_dispatch(&mut self, _: &[&[u8]], _: bool) {
        self.is_done();
    }

    fn unhook(&mut self) {
        self.is_done();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_is_left_alone() {
        for text in ["", "a line", "tab\tbed", "äöü … 日本 🦀", "50 £"] {
            assert_eq!(harmless(text, false), text);
            assert_eq!(without_codes(text), text);
        }
    }

    #[test]
    fn colours_are_kept_where_they_are_welcome() {
        let nest = "\x1b[32m[Nest] 7  - \x1b[39m\x1b[38;5;3m[App]\x1b[39m up \x1b[38:2::1:2:3mx";
        assert_eq!(harmless(nest, false), "[Nest] 7  - [App] up x");
        assert_eq!(harmless(nest, true), format!("{nest}\x1b[0m"));
        assert_eq!(without_codes(nest), "[Nest] 7  - [App] up x");
    }

    #[test]
    fn nothing_else_reaches_a_terminal() {
        for (text, shown) in [
            ("a\x1b[2J\x1b[1;1Hb", "ab"),
            ("\x1b]0;a title\x07b", "b"),
            ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
            ("\x1bP1$r q\x1b\\b", "b"),
            ("\x1b7\x1bcb", "b"),
            ("\x1b[>4;2mb\x1b[?25l", "b"),
            ("10%\r20%\x08\x07\0\x7f", "10%^M20%^H^G^@^?"),
            ("\u{9b}31m", "\u{fffd}31m"),
        ] {
            for colours in [false, true] {
                assert_eq!(harmless(text, colours), shown, "{text:?}");
            }
        }
        assert_eq!(without_codes("\x1b[1mNUL\0\r"), "NUL\0\r");
    }

    #[test]
    fn what_never_ends_is_shown_and_not_swallowed() {
        for text in ["\x1b]0;no end", "a\x1bPno end", "a\x1b[12", "\x1b"] {
            let shown = text.replace('\x1b', "^[");
            assert_eq!(harmless(text, true), shown);
            assert_eq!(without_codes(text), shown);
        }
    }
}
