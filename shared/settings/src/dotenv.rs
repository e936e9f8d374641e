//! Reads a `.env` file as the programs do that people write it for: Node's dotenv,
//! python-dotenv and Compose.
//!
//! Most of its lines are not meant for this program, so nothing in it is an error: a line
//! that none of those readers would take sets nothing, and the others are read. Libraries
//! stop at the first such line, which is why this is not one. `$NAME` stands for itself,
//! as in a password.

/// What one assignment sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    pub name: String,
    pub value: String,
    /// Where it begins, counted from 1.
    pub line: usize,
}

/// All assignments in their order; of two with the same name the later one holds.
pub fn parse(bytes: &[u8]) -> Vec<Assignment> {
    let text = decode(bytes);
    let mut found = Vec::new();
    let (mut rest, mut line) = (text.as_str(), 1);
    while !rest.is_empty() {
        let (assignment, length) = match assignment(rest) {
            Some((name, value, length)) => (Some(Assignment { name, value, line }), length),
            None => (None, line_length(rest)),
        };
        found.extend(assignment);
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    found
}

/// UTF-8 or, as editors of Windows write it, UTF-16 behind a byte order mark. Bytes that
/// are neither spoil their own value only.
fn decode(bytes: &[u8]) -> String {
    let utf16 = |read: fn([u8; 2]) -> u16, bytes: &[u8]| {
        let units = bytes.chunks_exact(2).map(|pair| read([pair[0], pair[1]]));
        char::decode_utf16(units).map(|letter| letter.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
    };
    let text: String = match bytes {
        [0xFF, 0xFE, rest @ ..] => utf16(u16::from_le_bytes, rest),
        [0xFE, 0xFF, rest @ ..] => utf16(u16::from_be_bytes, rest),
        [0xEF, 0xBB, 0xBF, rest @ ..] => String::from_utf8_lossy(rest).into_owned(),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    };
    text.replace("\r\n", "\n").replace('\r', "\n")
}

/// Bytes of the first line, with its end.
fn line_length(text: &str) -> usize {
    text.find('\n').map_or(text.len(), |end| end + 1)
}

/// Name and value of the assignment at the beginning of `text`, and the bytes that it takes.
fn assignment(text: &str) -> Option<(String, String, usize)> {
    let line = &text[..line_length(text)];
    let start = line.trim_start();
    let exported = start.strip_prefix("export").filter(|rest| rest.starts_with([' ', '\t']));
    let start = exported.unwrap_or(start).trim_start();
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || "_.-".contains(letter);
    let name = &start[..start.find(|letter| !is_part(letter))?];
    if name.is_empty() {
        return None;
    }
    let after = start[name.len()..].trim_start_matches([' ', '\t']);
    // `NAME: value` is YAML, which Compose's and Node's readers take; `a:b` is not.
    let value = match after.strip_prefix('=') {
        Some(value) => value,
        None => after.strip_prefix(':').filter(|value| value.starts_with(char::is_whitespace))?,
    };
    let begin = line.len() - value.trim_start_matches([' ', '\t']).len();
    let (value, length) =
        quoted(&text[begin..]).unwrap_or_else(|| (unquoted(&line[begin..]), line.len() - begin));
    Some((name.to_owned(), value, begin + length))
}

/// The value in quotes at the beginning of `text`, which may go over several lines, and
/// the bytes up to the end of its last line. `None` when nothing but a comment may follow the
/// closing quote, and something does: then the quotes are part of the value.
fn quoted(text: &str) -> Option<(String, usize)> {
    let quote = text.chars().next().filter(|first| "\"'`".contains(*first))?;
    let inner = &text[1..];
    let mut escaped = false;
    let end = inner.find(|letter| {
        let closes = letter == quote && !escaped;
        escaped = letter == '\\' && !escaped;
        closes
    })?;
    let behind = &inner[end + 1..];
    let length = line_length(behind);
    let comment = behind[..length].trim();
    if !comment.is_empty() && !comment.starts_with('#') {
        return None;
    }
    let value = if quote == '"' { unescape(&inner[..end]) } else { inner[..end].to_owned() };
    Some((value, end + 2 + length))
}

/// What the escapes of double quotes stand for; others stand for themselves.
fn unescape(text: &str) -> String {
    let mut value = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (letter, letters.clone().next()) {
            ('\\', Some(next @ ('n' | 'r' | 't' | '\\' | '"' | '$'))) => {
                letters.next();
                value.push(match next {
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    other => other,
                });
            }
            _ => value.push(letter),
        }
    }
    value
}

/// A value without quotes: up to a comment, which begins behind a space.
fn unquoted(line: &str) -> String {
    let mut before = ' ';
    let end = line.find(|letter: char| {
        let begins = letter == '#' && before.is_whitespace();
        before = letter;
        begins
    });
    line[..end.unwrap_or(line.len())].trim().to_owned()
}

#[cfg(test)]
mod tests;
