//! Where a value came from, and how strong that source is.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Where a value came from. Lines are counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Flag(&'static str),
    Variable(&'static str),
    Dotenv {
        variable: &'static str,
        line: usize,
    },
    /// `cluster.toml`, or the file that stands for it.
    File {
        path: Arc<Path>,
        key: String,
        line: usize,
    },
    /// The default of the setting with this variable.
    Default(&'static str),
}

impl Origin {
    pub fn level(&self) -> Level {
        match self {
            Self::Flag(_) => Level::Flag,
            Self::Variable(_) => Level::Environment,
            Self::Dotenv { .. } => Level::Dotenv,
            Self::File { .. } => Level::File,
            Self::Default(_) => Level::Default,
        }
    }

    /// The variable that has set it, in the environment or in `.env`.
    pub(crate) fn variable(&self) -> Option<&'static str> {
        match self {
            Self::Variable(variable) | Self::Dotenv { variable, .. } => Some(variable),
            _ => None,
        }
    }

    /// The file, if it is one.
    pub(crate) fn file(&self) -> Option<String> {
        match self {
            Self::Dotenv { .. } => Some(".env".to_owned()),
            Self::File { path, .. } => Some(path.display().to_string()),
            _ => None,
        }
    }

    /// As a column of a table has it, such as `.env:3`.
    pub fn brief(&self) -> String {
        match self {
            Self::Flag(name) => format!("--{name}"),
            Self::Variable(name) => (*name).to_owned(),
            Self::Dotenv { line, .. } => format!(".env:{line}"),
            Self::File { path, line, .. } => format!("{}:{line}", path.display()),
            Self::Default(_) => "default".to_owned(),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "--{name}"),
            Self::Variable(name) => write!(f, "the environment variable {name}"),
            Self::Dotenv { variable, line } => write!(f, "{variable} in .env line {line}"),
            Self::File { path, key, line } => write!(f, "{key} in {} line {line}", path.display()),
            Self::Default(variable) => write!(f, "the default of {variable}"),
        }
    }
}

/// The strength of a source; the greater one wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Default,
    File,
    Dotenv,
    Environment,
    Flag,
}
