//! Where the embedded store lives: a named directory, or a private temporary
//! one that goes away with the cluster.

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
    /// Uses `named` (made if missing, for its owner only), or makes a temporary
    /// directory.
    ///
    /// # Errors
    /// When the directory cannot be made; says which.
    pub(crate) fn open(named: Option<&Path>) -> Result<Self, StateDirError> {
        let Some(named) = named else {
            let place = std::env::temp_dir();
            let made = TemporaryDirectory::create();
            return made.map(Self::Temporary).map_err(|reason| StateDirError { place, reason });
        };
        let make = || {
            DirBuilder::new().recursive(true).mode(0o700).create(named)?;
            // Independent of any working directory.
            fs::canonicalize(named)
        };
        make().map(Self::Named).map_err(|reason| StateDirError { place: named.to_owned(), reason })
    }

    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Named(path) => path,
            Self::Temporary(directory) => directory.path(),
        }
    }
}
