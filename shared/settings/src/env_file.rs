//! Files of variables for somebody's program, in the form that `node --env-file`,
//! `docker --env-file` and the dotenv libraries have in common.
//!
//! A line is `NAME=value`, with or without `export` before it; empty lines and lines that
//! begin with `#` say nothing. A value in single quotes is taken as it stands; in double
//! quotes `\n`, `\r`, `\t`, `\"`, `\\` and `\$` are what they are in a shell; both may
//! span lines. A value without quotes ends with its line or before a `#` that follows a
//! blank. Nothing is substituted: a `$` is a dollar sign, as passwords have it.
//!
//! Whoever names a file wants all of it, so a line that cannot be understood is an error,
//! unlike in `.env`. No message repeats a value.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

/// Longest file in bytes: a program is given 2 MiB at most, arguments included, with the usual
/// limit of the stack (execve(2), `ARG_MAX`).
const LONGEST_FILE: u64 = 1 << 20;
/// Longest `NAME=value` with its end, in bytes: a program cannot be given a longer one
/// (execve(2), `MAX_ARG_STRLEN`).
const LONGEST_VARIABLE: usize = 128 * 1024;

/// One variable and where it stands.
#[derive(Clone, PartialEq, Eq)]
pub struct Variable {
    pub name: String,
    pub value: String,
    /// Counted from 1.
    pub line: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum EnvFileError {
    #[error("could not read the environment file {}: {reason}", path.display())]
    Unreadable { path: PathBuf, reason: io::Error },
    #[error("the environment file {} {problem}", path.display())]
    Unfit { path: PathBuf, problem: &'static str },
    #[error("{} line {line}: {problem}", path.display())]
    Line { path: PathBuf, line: usize, problem: String },
}

/// Reads the file at `path`, whose variables are in their order; of several of the same
/// name the last one counts.
///
/// # Errors
/// When it cannot be read, is no regular file, or has a line that cannot be understood;
/// names the file, and the line counted from 1.
pub fn read(path: &Path) -> Result<Vec<Variable>, EnvFileError> {
    let unfit = |problem| EnvFileError::Unfit { path: path.to_owned(), problem };
    let bytes = read_bytes(path, unfit)?;
    let line_of = |index| 1 + bytes[..index].iter().filter(|&&byte| byte == b'\n').count();
    let at = |line, problem| EnvFileError::Line { path: path.to_owned(), line, problem };
    let text = std::str::from_utf8(&bytes)
        .map_err(|err| at(line_of(err.valid_up_to()), "it is not UTF-8".to_owned()))?;
    parse(text).map_err(|(line, problem)| at(line, problem))
}

fn read_bytes(path: &Path, unfit: impl Fn(&'static str) -> EnvFileError) -> Result<Vec<u8>, EnvFileError> {
    let unreadable = |reason| EnvFileError::Unreadable { path: path.to_owned(), reason };
    // Without waiting: nobody may be at the other end of a named pipe.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path).map_err(unreadable)?;
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err(unfit("is no regular file, which it must be as each reload reads it again"));
    }
    let mut bytes = Vec::new();
    file.take(LONGEST_FILE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > LONGEST_FILE {
        return Err(unfit("has more than 1 MiB"));
    }
    Ok(bytes)
}

/// The variables of `text`, or the line that cannot be understood and why.
fn parse(text: &str) -> Result<Vec<Variable>, (usize, String)> {
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut variables = Vec::new();
    let mut line = 1;
    while !rest.is_empty() {
        let (first, after) = rest.split_once('\n').unwrap_or((rest, ""));
        let statement = first.trim();
        if statement.is_empty() || statement.starts_with('#') {
            (rest, line) = (after, line + 1);
            continue;
        }
        let problem = |text: String| (line, text);
        let (name, begins) = name(first).map_err(problem)?;
        let (value, left) = value(&rest[begins..]).map_err(|text| (line, format!("{name} {text}")))?;
        check(name, &value).map_err(problem)?;
        variables.push(Variable { name: name.to_owned(), value, line });
        let taken = rest.len() - left.len();
        line += rest[..taken].matches('\n').count();
        rest = left;
    }
    Ok(variables)
}

/// The name that a line sets, and where its value begins.
fn name(line: &str) -> Result<(&str, usize), String> {
    let Some(equals) = line.find('=') else {
        return Err("it has no =; a right line is NAME=value".to_owned());
    };
    let before = line[..equals].trim();
    let name = before.strip_prefix("export").filter(|rest| rest.starts_with([' ', '\t']));
    let name = name.unwrap_or(before).trim_start();
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let begins_well = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    if !begins_well || !name.bytes().all(fits) {
        // It may be a part of a value, so it is not repeated.
        return Err("what stands before the = is no name; a right line is NAME=value".to_owned());
    }
    Ok((name, equals + 1))
}

/// The value at the beginning of `text`, and what follows its line.
fn value(text: &str) -> Result<(String, &str), &'static str> {
    let text = text.trim_start_matches([' ', '\t']);
    let Some(quote @ ('"' | '\'' | '`')) = text.chars().next() else {
        let (line, rest) = text.split_once('\n').unwrap_or((text, ""));
        return Ok((without_comment(line).trim().to_owned(), rest));
    };
    let (value, after) = quoted(&text[1..], quote).ok_or("has a quote that is not closed")?;
    let (end, rest) = after.split_once('\n').unwrap_or((after, ""));
    let end = end.trim();
    if !end.is_empty() && !end.starts_with('#') {
        return Err("has something after its closing quote");
    }
    Ok((value, rest))
}

/// A value without quotes up to its comment.
fn without_comment(line: &str) -> &str {
    if line.starts_with('#') {
        return "";
    }
    let comment = line.match_indices('#').find(|&(index, _)| line[..index].ends_with([' ', '\t']));
    comment.map_or(line, |(index, _)| &line[..index])
}

/// What stands before the closing `quote`, and what follows that.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((index, character)) = characters.next() {
        if character == quote {
            return Some((value.replace("\r\n", "\n"), &text[index + 1..]));
        }
        if character != '\\' || quote != '"' {
            value.push(character);
            continue;
        }
        match characters.next()?.1 {
            'n' => value.push('\n'),
            'r' => value.push('\r'),
            't' => value.push('\t'),
            escaped @ ('"' | '\\' | '$') => value.push(escaped),
            other => value.extend(['\\', other]),
        }
    }
    None
}

fn check(name: &str, value: &str) -> Result<(), String> {
    if value.contains('\0') {
        return Err(format!("the value of {name} has a zero byte, which no variable can have"));
    }
    if name.len() + value.len() + 2 > LONGEST_VARIABLE {
        return Err(format!(
            "{name} has {} bytes, and no program can be given more than 128 KiB",
            value.len()
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
