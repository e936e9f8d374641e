//! What a look at the system has found, as a line of the output.

use std::fmt::{self, Display};

/// What one look has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Finding {
    Fine(String),
    /// It would start, and yet somebody should know.
    Warning(String),
    /// It would not start.
    Obstacle(String),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, text) = match self {
            Self::Fine(text) => ("ok", text),
            Self::Warning(text) => ("warning", text),
            Self::Obstacle(text) => ("obstacle", text),
        };
        f.write_str(&line(kind, text))
    }
}

/// What it is about, in a column.
pub(super) fn line(kind: &str, text: impl Display) -> String {
    format!("{kind:8}  {text}")
}
