//! Where a value came from, and how strong that source is.

use std::fmt;

/// Where a value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Flag(&'static str),
    Variable(&'static str),
    Dotenv {
        variable: &'static str,
        /// Counted from 1.
        line: usize,
    },
    /// The default of the setting with this variable.
    Default(&'static str),
}

impl Origin {
    pub(crate) fn level(self) -> Level {
        match self {
            Self::Flag(_) => Level::Flag,
            Self::Variable(_) => Level::Environment,
            Self::Dotenv { .. } => Level::Dotenv,
            Self::Default(_) => Level::Default,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "--{name}"),
            Self::Variable(name) => write!(f, "the environment variable {name}"),
            Self::Dotenv { variable, line } => write!(f, "{variable} in .env line {line}"),
            Self::Default(variable) => write!(f, "the default of {variable}"),
        }
    }
}

/// The strength of a source; the greater one wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Default,
    Dotenv,
    Environment,
    Flag,
}
