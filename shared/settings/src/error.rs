//! What is wrong with a setting: the value, its source and a right example.

use std::io;
use std::path::{Path, PathBuf};

use crate::definition::Definition;
use crate::origin::Origin;

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("invalid value {value:?} from {origin}: {why}expected {expects}, for example {example}{hint}")]
    Invalid {
        /// Variable of the setting.
        setting: &'static str,
        value: String,
        origin: Box<Origin>,
        /// What is wrong with it, and a semicolon, or nothing.
        why: Box<str>,
        expects: &'static str,
        example: String,
        /// What to do where the value may not be meant for the cluster, or nothing.
        hint: Box<str>,
    },
    #[error(
        "invalid value from {origin} (not shown as it may hold a password): {reason}; \
         expected {expects}, for example {example}"
    )]
    InvalidSecret {
        /// Variable of the setting.
        setting: &'static str,
        origin: Box<Origin>,
        reason: String,
        expects: &'static str,
        example: String,
    },
    #[error("could not read {}: {reason}", path.display())]
    Unreadable { path: PathBuf, reason: io::Error },
    #[error("{} line {line}: {reason}", path.display())]
    File {
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        reason: String,
    },
    /// No value in it is known.
    #[error("{} line {line}: not TOML: {reason}", path.display())]
    NotToml {
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        reason: String,
    },
    #[error("{0}")]
    Conflict(String),
}

impl ConfigError {
    pub(crate) fn invalid(definition: &Definition, value: String, origin: Origin) -> Self {
        if definition.secret {
            return Self::invalid_secret(definition, "it does not parse".to_owned(), origin);
        }
        let (setting, expects, example) =
            (definition.variable, definition.expects, example(definition, &origin));
        let why = definition.why_wrong.and_then(|why| why(&value)).map(|why| why + "; ").unwrap_or_default();
        let (hint, origin) = (hint(definition, &origin), Box::new(origin));
        Self::Invalid { setting, value, origin, why: why.into(), expects, example, hint: hint.into() }
    }

    pub(crate) fn invalid_secret(definition: &Definition, reason: String, origin: Origin) -> Self {
        let (setting, expects, example) =
            (definition.variable, definition.expects, example(definition, &origin));
        let origin = Box::new(origin);
        Self::InvalidSecret { setting, origin, reason, expects, example }
    }

    pub(crate) fn file(path: &Path, line: usize, reason: String) -> Self {
        Self::File { path: path.to_owned(), line, reason }
    }

    /// Whether a whole file is not known for it, so that defaults say nothing.
    pub fn hides_values(&self) -> bool {
        matches!(self, Self::Unreadable { .. } | Self::NotToml { .. })
    }

    /// The variable of the setting whose value is wrong, if it is one value.
    pub fn setting(&self) -> Option<&'static str> {
        match self {
            Self::Invalid { setting, .. } | Self::InvalidSecret { setting, .. } => Some(setting),
            _ => None,
        }
    }
}

/// A right value, as it is written where the wrong one stands.
fn example(definition: &Definition, origin: &Origin) -> String {
    let (mut variable, example) = (definition.variable, definition.example);
    if let Origin::File { key, .. } = origin {
        let bare = example.parse::<u64>().is_ok() || matches!(example, "true" | "false");
        return if bare { format!("{key} = {example}") } else { format!("{key} = {example:?}") };
    }
    if origin.variable().is_some() {
        variable = definition.own_variable();
    }
    match definition.flag {
        Some(flag) => format!("--{flag} {example} or {variable}={example}"),
        None => format!("{variable}={example}"),
    }
}

/// Other programs set variables without the cluster's prefix as well, and for themselves.
fn hint(definition: &Definition, origin: &Origin) -> String {
    let Some(own) = definition.prefixed.filter(|_| origin.variable() == Some(definition.variable)) else {
        return String::new();
    };
    let instead = definition.flag.map(|flag| format!("--{flag} or ")).unwrap_or_default();
    format!(" (if {} is set for another program, say the cluster's with {instead}{own})", definition.variable)
}
