//! The working directory of the workers, and the files that their environment is read from.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use shared_settings::definitions::{CHDIR, ENV_FILE};
use shared_settings::{ConfigError, Settings};

use super::files::Files;
use super::mode::Mode;
use balancer_supervisor::directory::{WorkingDirectory, start_directory};
use balancer_supervisor::release::{EnvironmentFiles, Variables, find_executable};

/// Where workers are started, and with what.
pub(super) struct Place {
    /// Absolute; may lead through links.
    pub(super) directory: PathBuf,
    pub(super) files: Files,
}

/// What workers find at the start.
pub(super) struct Found {
    pub(super) directory: PathBuf,
    pub(super) variables: Variables,
}

/// # Errors
/// When there are no workers that could be started there.
pub(super) fn place(settings: &Settings, mode: Mode) -> Result<Place, ConfigError> {
    let (chdir, env_files) = (settings.find(&CHDIR)?, settings.find(&ENV_FILE)?.unwrap_or_default());
    let given = [(chdir.is_some(), CHDIR.names()), (!env_files.is_empty(), ENV_FILE.names())];
    if mode == Mode::Single
        && let Some((_, names)) = given.into_iter().find(|&(given, _)| given)
    {
        return Err(ConfigError::Conflict(format!(
            "{names} is for the workers of a cluster: leave it out, or leave out --cluster off (or \
             CLUSTER_ENABLED=false), for example --workers 1"
        )));
    }
    // A start in a directory that has been deleted is of no concern to whom it is not needed.
    let start = start_directory();
    let directory = match (chdir, &start) {
        (Some(chdir), Ok(start)) => start.join(chdir),
        (Some(chdir), Err(_)) if chdir.is_absolute() => chdir,
        (None, Ok(start)) => start.clone(),
        (_, Err(err)) => return Err(ConfigError::Conflict(format!("{err} (start in another one)"))),
    };
    if let (Err(err), Some(path)) = (&start, env_files.iter().find(|path| path.is_relative())) {
        return Err(ConfigError::Conflict(format!(
            "{err}, and {} is named relative to it (set {} to an absolute path)",
            path.display(),
            ENV_FILE.names()
        )));
    }
    let start = start.unwrap_or_else(|_| PathBuf::from("/"));
    let paths = env_files.iter().map(|path| start.join(path)).collect();
    Ok(Place { directory, files: Files { paths, settings: settings.clone(), directory: start } })
}

/// Looks whether workers can be started.
///
/// # Errors
/// When the directory or a file cannot be used; names it.
pub(super) fn find(directory: &Path, files: &Files) -> Result<Found, ConfigError> {
    let directory = WorkingDirectory::resolve(directory).map_err(|err| {
        ConfigError::Conflict(format!("{err} (set {} to one that can be used)", CHDIR.names()))
    })?;
    let variables =
        files.read().map_err(|err| ConfigError::Conflict(format!("{err} ({})", ENV_FILE.names())))?;
    Ok(Found { directory: directory.path().to_owned(), variables })
}

impl Found {
    /// The file that workers would run for the command `name`.
    pub(super) fn executable(&self, name: &OsStr) -> Option<PathBuf> {
        let path = self.variables.0.get("PATH").cloned().or_else(|| std::env::var_os("PATH"));
        find_executable(name, &self.directory, path)
    }
}
