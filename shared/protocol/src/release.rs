//! What a reload finds changed.

use serde::{Deserialize, Serialize};

/// How the release that was opened for a reload differs from the one that runs. Values of
/// variables are not shown, as some are passwords.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct ReleaseChanges {
    /// Where workers are started from now on; absent when that stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Names of variables in environment files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub added: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<String>,
    /// What no reload takes up, each as a sentence.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl ReleaseChanges {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What the candidates are started with, for people: such as
    /// `variables added: A; changed: B, C`. Empty when nothing differs.
    pub fn summary(&self) -> String {
        let mut parts = Vec::new();
        if let Some(directory) = &self.directory {
            parts.push(format!("directory: {directory}"));
        }
        for (what, names) in [("added", &self.added), ("changed", &self.changed), ("removed", &self.removed)]
        {
            if !names.is_empty() {
                parts.push(format!("variables {what}: {}", names.join(", ")));
            }
        }
        parts.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_has_what_differs() {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let changes =
            ReleaseChanges { changed: names(&["A", "B"]), removed: names(&["C"]), ..Default::default() };
        assert_eq!(changes.summary(), "variables changed: A, B; variables removed: C");
        assert!(ReleaseChanges::default().is_empty() && ReleaseChanges::default().summary().is_empty());
        let directory = Some("/srv/2".to_owned());
        assert_eq!(ReleaseChanges { directory, ..Default::default() }.summary(), "directory: /srv/2");
    }
}
