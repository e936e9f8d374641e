//! What is wrong with a setting: the value, its source and a right example.

use std::io;
use std::path::PathBuf;

use crate::definition::Definition;
use crate::origin::Origin;

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("invalid value {value:?} from {origin}: expected {expects}, for example {example}")]
    Invalid { value: String, origin: Origin, expects: &'static str, example: String },
    #[error(
        "invalid value from {origin} (not shown as it may hold a password): {reason}; \
         expected {expects}, for example {example}"
    )]
    InvalidSecret { origin: Origin, reason: String, expects: &'static str, example: String },
    #[error("could not read {}: {reason}", path.display())]
    Unreadable { path: PathBuf, reason: io::Error },
    #[error(
        ".env line {line} does not parse{}; a right one is PORT=3100, and a value with spaces needs quotes",
        name.as_ref().map(|name| format!(" (it sets {name})")).unwrap_or_default()
    )]
    Dotenv { line: usize, name: Option<String> },
    #[error("{0}")]
    Conflict(String),
}

impl ConfigError {
    pub(crate) fn invalid(definition: &Definition, value: String, origin: Origin) -> Self {
        let (expects, example) = (definition.expects, example(definition));
        if definition.secret {
            let reason = "it does not parse".to_owned();
            return Self::InvalidSecret { origin, reason, expects, example };
        }
        Self::Invalid { value, origin, expects, example }
    }

    pub(crate) fn invalid_secret(definition: &Definition, reason: String, origin: Origin) -> Self {
        let (expects, example) = (definition.expects, example(definition));
        Self::InvalidSecret { origin, reason, expects, example }
    }

    pub(crate) fn dotenv(text: &str, err: &dotenvy::Error) -> Self {
        // The parser names the line, or only the value in it.
        let bad = match err {
            dotenvy::Error::LineParse(part, _) => part.trim(),
            _ => "",
        };
        let found = text.lines().enumerate().find(|(_, line)| line.contains(bad));
        let (line, whole) = found.map_or((1, ""), |(index, line)| (index + 1, line));
        // The value may be a password; the name is shown only if it looks like one.
        let name = whole.split_once('=').map(|(name, _)| name.trim().to_owned());
        let is_name = |name: &String| name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
        Self::Dotenv { line, name: name.filter(is_name) }
    }
}

fn example(definition: &Definition) -> String {
    let (variable, example) = (definition.variable, definition.example);
    match definition.flag {
        Some(flag) => format!("--{flag} {example} or {variable}={example}"),
        None => format!("{variable}={example}"),
    }
}
