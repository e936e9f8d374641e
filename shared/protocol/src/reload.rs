//! How a reload goes about it, and what it leaves.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How workers are replaced as planned: by a reload, or because of a limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum ReloadMode {
    /// The new ones start beside the old ones, and take over together.
    #[default]
    All,
    /// Each worker ends before its successor starts, and the next one follows.
    OneByOne,
}

impl ReloadMode {
    /// What a mode may be called, for messages.
    pub const EXPECTED: &'static str = "all or one-by-one";
}

impl fmt::Display for ReloadMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::All => "all",
            Self::OneByOne => "one-by-one",
        })
    }
}

/// The text names no mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownReloadMode;

impl fmt::Display for UnknownReloadMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}", ReloadMode::EXPECTED)
    }
}

impl std::error::Error for UnknownReloadMode {}

impl FromStr for ReloadMode {
    type Err = UnknownReloadMode;

    fn from_str(text: &str) -> Result<Self, UnknownReloadMode> {
        [Self::All, Self::OneByOne].into_iter().find(|mode| mode.to_string() == text).ok_or(UnknownReloadMode)
    }
}

/// Counts the releases that the cluster has opened, from 1: a reload opens the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct ReleaseId(pub u64);

impl ReleaseId {
    /// The one that the cluster was started with.
    pub const FIRST: Self = Self(1);
}

impl fmt::Display for ReleaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A worker that is being replaced finishes what it has before its successor starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Turn {
    /// It is the so-manieth one, from 1…
    pub place: usize,
    /// …of so many.
    pub of: usize,
    pub requests: u64,
    /// Event streams and upgraded connections.
    pub long_lived: u64,
    /// How long it may take to finish them.
    pub up_to_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_have_one_name_each() {
        for mode in [ReloadMode::All, ReloadMode::OneByOne] {
            assert_eq!(mode.to_string().parse(), Ok(mode));
            assert!(ReloadMode::EXPECTED.contains(&mode.to_string()));
        }
        for bad in ["", "All", "one by one", "rolling"] {
            assert_eq!(bad.parse::<ReloadMode>(), Err(UnknownReloadMode), "{bad:?}");
        }
    }
}
