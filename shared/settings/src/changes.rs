//! Which settings have been changed in files since they were read: a running program
//! keeps the old values, and its operators want to know.

use std::path::Path;

use crate::error::ConfigError;
use crate::origin::Origin;
use crate::resolve::Settings;
use crate::{DefaultText, definitions};

/// A setting that has another value now than when the settings were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingChange {
    pub variable: &'static str,
    /// The file that has set it or does so now, for people.
    pub file: String,
}

impl Settings {
    /// The settings that would have another value if they were read now, with the files
    /// in `directory`. What the command line and the environment set cannot change.
    ///
    /// # Errors
    /// When a file cannot be read or does not parse.
    pub fn changes(&self, directory: &Path) -> Result<Vec<SettingChange>, ConfigError> {
        Ok(self.changes_to(&self.read_again(directory)?))
    }

    fn changes_to(&self, now: &Self) -> Vec<SettingChange> {
        let changed = definitions::all().filter_map(|definition| {
            let (before, after) = (self.lookup(definition), now.lookup(definition));
            let default = match definition.default {
                DefaultText::Value(value) => Some(value),
                DefaultText::Described(_) => None,
            };
            let value = |found: &Option<(&str, Origin)>| {
                found.as_ref().map(|(value, _)| *value).or(default).map(str::to_owned)
            };
            let differs = value(&before) != value(&after);
            let file = [after, before].into_iter().flatten().find_map(|(_, origin)| origin.file())?;
            differs.then_some(SettingChange { variable: definition.variable, file })
        });
        changed.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(variables: &[(&str, &str)], before: &str, after: &str) -> Vec<(&'static str, String)> {
        let settings = |text| Settings::from_parts(variables, text);
        let changes = settings(before).changes_to(&settings(after));
        changes.into_iter().map(|change| (change.variable, change.file)).collect()
    }

    #[test]
    fn only_what_would_have_another_value_has_changed() {
        let file = ".env".to_owned();
        assert_eq!(
            changes(&[], "CLUSTER_WORKERS=2", "CLUSTER_WORKERS=3"),
            [("CLUSTER_WORKERS", file.clone())]
        );
        assert_eq!(changes(&[], "PORT=1", ""), [("PORT", file.clone())]);
        assert_eq!(changes(&[], "", "PORT=1"), [("PORT", file)]);
        assert_eq!(changes(&[], "", "PORT=3100"), [], "as by default");
        assert_eq!(changes(&[], "PORT=1\nA=1", "A=2\nPORT=1"), []);
        assert_eq!(changes(&[("PORT", "5")], "PORT=1", "PORT=2"), [], "the environment decides");
    }
}
