//! The state directory and the access log: can they be written? The error pages: can they be
//! used?

use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;

use shared_settings::definitions::{ACCESS_LOG, ERROR_PAGES, STATE_DIR};
use worker::config::State;

use balancer_access_log::Target;
use balancer_proxy::PageSet;
use balancer_supervisor::process::Program;

use super::finding::Finding;
use crate::config::Config;

/// The bundled workers' shared state; somebody else's program keeps its own.
pub(super) fn state(config: &Config) -> Vec<Finding> {
    if matches!(config.program, Program::Command(_)) {
        return Vec::new();
    }
    let (directory, cure) = match &config.worker.state {
        State::Redis(_) => return vec![Finding::Fine("in Redis, which is not asked".to_owned())],
        State::Directory(directory) => (directory.clone(), STATE_DIR.names()),
        State::Temporary => (std::env::temp_dir(), "TMPDIR".to_owned()),
    };
    vec![match can_create_in(existing(&directory)) {
        Ok(()) => Finding::Fine(format!("{} can be written", directory.display())),
        Err(err) => Finding::Obstacle(format!(
            "could not keep state in {directory:?}: {err} (set {cure} to a directory that can be made)"
        )),
    }]
}

pub(super) fn access_log(config: &Config) -> Vec<Finding> {
    let path = match config.access_log.as_ref().map(|log| &log.target) {
        None => return Vec::new(),
        Some(Target::Stdout) => return vec![Finding::Fine("on standard output".to_owned())],
        Some(Target::File(path)) => path,
    };
    let written = match OpenOptions::new().append(true).open(path) {
        Ok(_) => Ok(()),
        Err(err) if err.kind() == io::ErrorKind::NotFound => can_create_in(parent(path)),
        Err(err) => Err(err),
    };
    vec![match written {
        Ok(()) => Finding::Fine(format!("{} can be written", path.display())),
        Err(err) => Finding::Obstacle(format!(
            "could not open {}: {err} (set {})",
            path.display(),
            ACCESS_LOG.names()
        )),
    }]
}

pub(super) fn error_pages(config: &Config) -> Vec<Finding> {
    let Some(directory) = &config.error_pages else { return Vec::new() };
    vec![match PageSet::read(directory) {
        Ok(pages) => Finding::Fine(format!("{} in {}", pages.count(), directory.display())),
        Err(err) => Finding::Obstacle(format!("{err} (set {})", ERROR_PAGES.names())),
    }]
}

/// The directory in which `path` lies.
pub(super) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// `directory`, or the nearest one above it that is there, in which it would be made.
pub(super) fn existing(directory: &Path) -> &Path {
    directory.ancestors().find(|path| !path.as_os_str().is_empty() && path.exists()).unwrap_or(Path::new("."))
}

/// Tries it, as permissions say too little: of root, of read-only and of special file systems.
pub(super) fn can_create_in(directory: &Path) -> io::Result<()> {
    let probe = directory.join(format!(".balancer-check-{}", std::process::id()));
    OpenOptions::new().write(true).create_new(true).open(&probe)?;
    fs::remove_file(&probe)
}
