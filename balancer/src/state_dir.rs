//! The directory of the embedded store: a named one, or a private temporary one
//! that is removed when the cluster ends.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use shared_settings::definitions::STATE_DIR;
use shared_store::TemporaryDirectory;

#[derive(Debug, thiserror::Error)]
#[error(
    "could not keep state in {place:?}: {reason} (set {} to a directory that can be made)",
    STATE_DIR.names()
)]
pub(crate) struct StateDirError {
    place: PathBuf,
    reason: io::Error,
}

pub(crate) enum StateDir {
    Named(PathBuf),
    Temporary(TemporaryDirectory),
}

impl StateDir {
    /// Opens `named`, which is created for its owner only if it is missing, or
    /// creates a temporary directory.
    ///
    /// # Errors
    /// When the directory cannot be created; names it.
    pub(crate) fn open(named: Option<&Path>) -> Result<Self, StateDirError> {
        let Some(named) = named else {
            let place = std::env::temp_dir();
            let created = TemporaryDirectory::create();
            return created.map(Self::Temporary).map_err(|reason| StateDirError { place, reason });
        };
        let create = || {
            DirBuilder::new().recursive(true).mode(0o700).create(named)?;
            // A worker may have another working directory.
            fs::canonicalize(named)
        };
        create().map(Self::Named).map_err(|reason| StateDirError { place: named.to_owned(), reason })
    }

    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Named(path) => path,
            Self::Temporary(directory) => directory.path(),
        }
    }
}
