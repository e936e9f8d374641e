//! What a program has printed last, for messages.

use shared_protocol::OutputLine;

/// Lines that are repeated.
const LINES: usize = 5;
/// Characters of a line that are repeated.
const LINE: usize = 200;

/// The last lines that say something, oldest first, shortened and without what would steer
/// a terminal. Frames of stack traces would push out the message above them, and what a
/// runtime adds to an error (Node does) the error itself, which is among them always.
pub fn last_words<'a>(lines: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut all: Vec<_> = lines.into_iter().map(plain).collect();
    all.retain(|line| says_something(line));
    let mut last = all.split_off(all.len().saturating_sub(LINES));
    if !last.iter().any(|line| is_error(line))
        && let Some(error) = all.into_iter().rev().find(|line| is_error(line))
    {
        last[0] = error;
    }
    last.iter().map(|line| shorten(line.trim())).collect()
}

/// [`last_words`] of a worker.
pub(crate) fn last_lines(lines: &[OutputLine]) -> Vec<String> {
    last_words(lines.iter().map(|line| line.text.as_str()))
}

/// Is this the message of an error, as languages write it?
fn is_error(line: &str) -> bool {
    let line = line.to_ascii_lowercase();
    let signs = ["error:", "error [", "exception:", "exception in ", "panicked at", "panic:", "fatal"];
    signs.iter().any(|sign| line.contains(sign))
}

/// Does a program say that the `port` which it was told is in use (EADDRINUSE of errno(3))?
/// One that names other ports and not this one has tried those.
pub(crate) fn says_port_in_use(lines: &[String], port: u16) -> bool {
    if !says_in_use(lines) {
        return false;
    }
    let mut ports = lines.iter().flat_map(|line| ports(line)).peekable();
    ports.peek().is_none() || ports.any(|named| named == port)
}

/// Does a program say that some port is in use?
pub(crate) fn says_in_use(lines: &[String]) -> bool {
    says(lines, &["in use", "inuse", "errno 98", "errno: 98"])
}

/// Does one of the lines contain some of these `words`, which are in lower case?
pub(crate) fn says(lines: &[String], words: &[&str]) -> bool {
    lines.iter().any(|line| {
        let line = line.to_ascii_lowercase();
        words.iter().any(|words| line.contains(words))
    })
}

/// The ports that a line names, as in `127.0.0.1:3000`, `port 3000`, `port: 3000` and
/// `('127.0.0.1', 3000)`. Smaller numbers may be parts of a time.
fn ports(line: &str) -> impl Iterator<Item = u16> {
    line.split(|char: char| !char.is_ascii_digit()).filter_map(move |digits| {
        let before = &line[..digits.as_ptr() as usize - line.as_ptr() as usize];
        let is_in_pair = before.ends_with("', ");
        let before = before.trim_end_matches([' ', '=', '\'', '"']);
        let is_port = is_in_pair || before.ends_with(':') || before.to_ascii_lowercase().ends_with("port");
        digits.parse().ok().filter(|&port| is_port && port >= 100)
    })
}

fn says_something(line: &str) -> bool {
    let is_indented = line.starts_with(char::is_whitespace);
    let text = line.trim_start();
    let is_frame = is_indented && (text.starts_with("at ") || text.starts_with("from "));
    text.contains(char::is_alphanumeric) && !is_frame
}

fn shorten(line: &str) -> String {
    match line.char_indices().nth(LINE) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

/// Without control sequences (ECMA-48, section 5.4: `ESC [`, parameters, and a final byte
/// from `@` to `~`) and control characters.
fn plain(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut chars = line.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '\x1b' if chars.next_if_eq(&'[').is_some() => {
                let _ = chars.by_ref().find(|char| ('@'..='~').contains(char));
            }
            '\t' => text.push(' '),
            char if char.is_control() => {}
            char => text.push(char),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use shared_protocol::{Generation, OutputStream, WorkerId};

    use super::*;

    fn last(texts: &[&str]) -> Vec<String> {
        let line = |text: &&str| OutputLine {
            sequence: 1,
            at_ms: 0,
            worker: WorkerId(1),
            pid: 7,
            generation: Generation(1),
            stream: OutputStream::Stderr,
            text: (*text).to_owned(),
        };
        last_lines(&texts.iter().map(line).collect::<Vec<_>>())
    }

    #[test]
    fn a_message_is_not_pushed_out_by_its_stack_trace() {
        let node = [
            "node:internal/modules/cjs/loader:1148",
            "  throw err;",
            "  ^",
            "",
            "Error: Cannot find module '/app/nope.js'",
            "    at Module._resolveFilename (node:internal/modules/cjs/loader:1145:15)",
            "    at node:internal/main/run_main_module:28:49 {",
            "  code: 'MODULE_NOT_FOUND',",
            "  requireStack: []",
            "}",
            "",
            "Node.js v20.1.0",
        ];
        assert_eq!(last(&node)[1], "Error: Cannot find module '/app/nope.js'");
        let required = [
            "Error: Cannot find module 'socket.io'",
            "Require stack:",
            "- /app/lib/a.js",
            "- /app/server.js",
            "    at require (node:internal/modules/helpers:182:18) {",
            "  code: 'MODULE_NOT_FOUND',",
            "  requireStack: [ '/app/lib/a.js', '/app/server.js' ]",
            "}",
            "Node.js v20.1.0",
        ];
        let lines = last(&required);
        assert_eq!((lines.len(), &*lines[0], &*lines[4]), (5, required[0], required[8]));
        let ruby =
            ["a.rb:1:in `require': cannot load such file -- x (LoadError)", "\tfrom a.rb:1:in `<main>'"];
        assert_eq!(last(&ruby), [ruby[0]]);
    }

    #[test]
    fn lines_are_few_short_and_steer_no_terminal() {
        let long = "ä".repeat(300);
        let lines = last(&["1", "2", "3", "4", "5", "\x1b[31;1mred\x1b[0m\x07 \x1b]0;title", &long]);
        assert_eq!(lines.len(), 5);
        assert_eq!(lines[3], "red ]0;title");
        assert_eq!(lines[4].chars().count(), 201);
    }

    #[test]
    fn a_port_in_use_is_the_told_one_unless_others_are_named() {
        let says = |texts: &[&str]| {
            says_port_in_use(&texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>(), 40_000)
        };
        assert!(says(&["OSError: [Errno 98] Address already in use"]));
        assert!(says(&["listen EADDRINUSE: address already in use 127.0.0.1:40000"]));
        assert!(says(&["Error: it is in use", "  port: 40000"]));
        assert!(says(&["12:34:56 bind: Address in use"]));
        assert!(!says(&[
            "[Errno 98] while attempting to bind on ('127.0.0.1', 8000): address already in use"
        ]));
        assert!(says(&["12:34 bind to port 40000 failed: Address in use"]), "a time is no port");
        assert!(!says(&["listen EADDRINUSE: address already in use :::3000", "  code: 'EADDRINUSE',"]));
        assert!(!says(&["Port 3000 is already in use"]));
        assert!(!says(&["listening on 127.0.0.1:40000"]));
    }
}
