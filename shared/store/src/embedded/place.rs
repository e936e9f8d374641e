//! The directory of an embedded store, and how a database comes into it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use crate::{StoreError, temporary};

/// The database's name in its directory.
pub const FILE_NAME: &str = "state.sqlite3";

/// Must a database in `directory` survive the machine's sudden end?
pub(super) fn is_durable(directory: &Path) -> bool {
    !temporary::is_temporary(directory)
}

pub(super) fn in_use(directory: &Path) -> Option<File> {
    File::open(directory).ok().filter(|file| file.lock_shared().is_ok())
}

pub(super) fn not_created(err: &std::io::Error) -> String {
    format!("{err} (choose another directory with --state-dir or CLUSTER_STATE_DIR)")
}

pub(super) fn create(directory: &Path, path: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    // SQLite gives its other files the mode of this one.
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    Ok(())
}

/// A store error as the reason why opening failed, with what to do.
pub(super) fn describe(err: &StoreError) -> String {
    match err {
        StoreError::Corrupt(reason) => format!("{reason} (move the file away to start with an empty store)"),
        StoreError::Full(reason) => format!("{reason} (make room on the disk)"),
        StoreError::Unavailable(reason) => reason.clone(),
        other => other.to_string(),
    }
}
