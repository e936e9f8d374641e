//! The files that are read anew by each reload, as settings name them.

use std::io;
use std::path::PathBuf;

use shared_settings::{Settings, env_file};

use balancer_supervisor::release::{EnvironmentFiles, Variables};

/// The files that settings name.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    /// In their order: later ones win.
    pub(crate) paths: Vec<PathBuf>,
    /// As they were read at the start.
    pub(crate) settings: Settings,
    /// Where the files of the settings are.
    pub(crate) directory: PathBuf,
}

impl EnvironmentFiles for Files {
    fn read(&self) -> io::Result<Variables> {
        let mut variables = Variables::default();
        for path in &self.paths {
            let found = env_file::read(path).map_err(|err| io::Error::other(err.to_string()))?;
            variables.0.extend(found.into_iter().map(|variable| (variable.name, variable.value.into())));
        }
        Ok(variables)
    }

    fn notes(&self) -> Vec<String> {
        match self.settings.changes(&self.directory) {
            Ok(changes) => changes
                .into_iter()
                .map(|change| {
                    format!("{} changed in {}: takes effect with a restart", change.variable, change.file)
                })
                .collect(),
            Err(err) => vec![format!("{err}: what it changes would keep the balancer from starting again")],
        }
    }
}
