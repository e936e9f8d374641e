//! The form in which lines of a worker come out.

use std::borrow::Cow;
use std::time::SystemTime;

use balancer_state::output::LINE_BYTES;
use shared_protocol::{OutputStream, WorkerId};
use shared_telemetry::{LogFormat, codes};

use super::lines::{End, PART, Piece, boundary};
use super::object::Object;
use super::prefix::{self, Member};
use super::settings::{OutputMode, OutputSettings};

/// Stands where a line was divided.
const MARK: &str = "…";

/// Makes the lines of one stream ready to be written.
#[derive(Debug)]
pub(crate) struct Form {
    settings: OutputSettings,
    worker: WorkerId,
    stream: OutputStream,
    pid: u32,
    prefix: String,
    /// The time, as the log has it.
    time: String,
    /// Parts of the current line that have come out.
    parts: u32,
    /// Of the current line.
    level: Level,
    /// Bytes of the current line that are among the last lines.
    kept: usize,
    ready: Ready,
}

/// What is ready since it was taken last.
#[derive(Debug, Default)]
pub(crate) struct Ready {
    pub(crate) text: Vec<u8>,
    pub(crate) lines: u64,
    /// For the last lines.
    pub(crate) kept: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl Level {
    /// As the log writes it; its colour is that of tracing-subscriber (ECMA-48, section 8.3.117).
    fn shown(self) -> (&'static str, u8) {
        match self {
            Self::Error => ("ERROR", 31),
            Self::Warn => ("WARN", 33),
            Self::Info => ("INFO", 32),
            Self::Debug => ("DEBUG", 34),
            Self::Trace => ("TRACE", 35),
        }
    }

    /// The level that a line of the bundled worker begins with, and the rest of the line.
    fn of(line: &str) -> Option<(Self, &str)> {
        let (word, rest) = line.trim_start().split_once(' ')?;
        let levels = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];
        let level = levels.into_iter().find(|level| level.shown().0 == word)?;
        Some((level, rest.trim_start()))
    }
}

impl Form {
    pub(crate) fn new(settings: OutputSettings, worker: WorkerId, stream: OutputStream) -> Self {
        Self {
            settings,
            worker,
            stream,
            pid: 0,
            prefix: String::new(),
            time: String::new(),
            parts: 0,
            level: Level::Info,
            kept: 0,
            ready: Ready::default(),
        }
    }

    /// What is added from now on was printed now, by process `pid`.
    pub(crate) fn begin(&mut self, pid: u32, member: &Member) {
        self.pid = pid;
        prefix::write(&mut self.prefix, self.worker, pid, member, self.settings.colours);
        self.time = humantime::format_rfc3339_micros(SystemTime::now()).to_string();
    }

    pub(crate) fn take(&mut self) -> Ready {
        std::mem::take(&mut self.ready)
    }

    pub(crate) fn add(&mut self, piece: Piece<'_>) {
        let is_whole = self.parts == 0 && piece.end != End::Rest;
        match self.settings.mode {
            OutputMode::Raw => self.raw(piece),
            OutputMode::Merge if is_whole => match Object::parse(piece.text) {
                Some(object) => self.merge(piece.text, &object),
                None => self.tag(piece),
            },
            OutputMode::Merge | OutputMode::Tagged => self.tag(piece),
        }
    }

    fn raw(&mut self, piece: Piece<'_>) {
        let goes_on = piece.end == End::Rest;
        self.keep(piece.text, goes_on);
        self.ready.text.extend_from_slice(piece.text);
        if piece.end == End::LineFeed {
            self.ready.text.push(b'\n');
        }
        self.ready.lines += u64::from(self.parts == 0);
        self.count(goes_on);
    }

    fn merge(&mut self, line: &[u8], object: &Object<'_>) {
        self.keep(line, false);
        object.write_with(self.worker.0, self.pid, self.stream.as_str(), &mut self.ready.text);
        self.ready.text.push(b'\n');
        self.ready.lines += 1;
        self.count(false);
    }

    /// Adds a line, divided where it is long.
    fn tag(&mut self, piece: Piece<'_>) {
        let mut rest = match (piece.end, piece.text) {
            (End::LineFeed, [text @ .., b'\r']) => text,
            (_, text) => text,
        };
        loop {
            let cut = if rest.len() > PART { boundary(rest, PART) } else { rest.len() };
            let (part, later) = rest.split_at(cut);
            let goes_on = !later.is_empty() || piece.end == End::Rest;
            self.keep(part, goes_on);
            self.tag_part(&String::from_utf8_lossy(part), goes_on);
            self.count(goes_on);
            rest = later;
            if rest.is_empty() {
                return;
            }
        }
    }

    fn tag_part(&mut self, text: &str, goes_on: bool) {
        let found = if self.settings.bundled && self.parts == 0 { Level::of(text) } else { None };
        let (level, text) = found.map_or((None, text), |(level, text)| (Some(level), text));
        if self.parts == 0 {
            self.level = level.unwrap_or(Level::Info);
        }
        match self.settings.format {
            LogFormat::Text => self.text(level, text, goes_on),
            LogFormat::Json => self.json(text, goes_on),
        }
    }

    fn text(&mut self, level: Option<Level>, text: &str, goes_on: bool) {
        if text.is_empty() && self.parts > 0 && !goes_on {
            // Only the line feed was missing.
            return;
        }
        let shown = codes::harmless(text, self.settings.colours);
        let head = self.head(level);
        let (before, after) = marks(self.parts > 0, goes_on);
        for part in [&self.prefix, &*head, before, &shown, after, "\n"] {
            self.ready.text.extend_from_slice(part.as_bytes());
        }
        self.ready.lines += 1;
    }

    /// Time and level of a line of the bundled worker, which writes them as this log does,
    /// but for the time. Programs print their own.
    fn head(&self, level: Option<Level>) -> Cow<'static, str> {
        match (self.settings.bundled, level.map(Level::shown), self.settings.colours) {
            (false, ..) => "".into(),
            (true, Some((word, colour)), true) => {
                format!("\x1b[2m{}\x1b[0m \x1b[{colour}m{word:>5}\x1b[0m ", self.time).into()
            }
            (true, None, true) => format!("\x1b[2m{}\x1b[0m ", self.time).into(),
            (true, Some((word, _)), false) => format!("{} {word:>5} ", self.time).into(),
            (true, None, false) => format!("{} ", self.time).into(),
        }
    }

    fn json(&mut self, text: &str, goes_on: bool) {
        let out = &mut self.ready.text;
        let number = |out: &mut Vec<u8>, number: u32| {
            out.extend_from_slice(number.to_string().as_bytes());
        };
        for part in
            ["{\"timestamp\":\"", &self.time, "\",\"level\":\"", self.level.shown().0, "\",\"message\":"]
        {
            out.extend_from_slice(part.as_bytes());
        }
        serde_json::to_writer(&mut *out, &codes::without_codes(text)).expect("memory takes any text");
        out.extend_from_slice(b",\"worker\":\"");
        number(out, self.worker.0);
        out.extend_from_slice(b"\",\"pid\":");
        number(out, self.pid);
        out.extend_from_slice(b",\"stream\":\"");
        out.extend_from_slice(self.stream.as_str().as_bytes());
        out.push(b'"');
        if self.parts > 0 || goes_on {
            out.extend_from_slice(b",\"part\":");
            number(out, self.parts + 1);
            out.extend_from_slice(if goes_on { b",\"last\":false" } else { b",\"last\":true" });
        }
        out.extend_from_slice(b"}\n");
        self.ready.lines += 1;
    }

    /// Keeps the beginning of the line among the last ones.
    fn keep(&mut self, part: &[u8], goes_on: bool) {
        let continues = self.parts > 0;
        if continues && (part.is_empty() || self.kept >= LINE_BYTES) {
            return;
        }
        let part = if goes_on { part } else { part.strip_suffix(b"\r").unwrap_or(part) };
        // Room for both marks.
        let limit = LINE_BYTES - 8;
        let cut = if part.len() > limit { boundary(part, limit) } else { part.len() };
        let (before, after) = marks(continues, goes_on || cut < part.len());
        self.ready.kept.push(format!("{before}{}{after}", String::from_utf8_lossy(&part[..cut])));
        self.kept += part.len();
    }

    fn count(&mut self, goes_on: bool) {
        if goes_on {
            self.parts += 1;
        } else {
            (self.parts, self.kept) = (0, 0);
        }
    }
}

fn marks(continues: bool, goes_on: bool) -> (&'static str, &'static str) {
    (if continues { MARK } else { "" }, if goes_on { " …" } else { "" })
}

#[cfg(test)]
mod tests;
