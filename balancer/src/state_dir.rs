//! The directory of the embedded store: a named one, or a private temporary one that is
//! removed when the cluster ends. The primary alone creates it and the database in it, and
//! holds both open, so that its workers can tell whether they have the same files.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use shared_settings::definitions::STATE_DIR;
use shared_store::{StoreError, StoreFiles, StoreIdentity, TemporaryDirectory};

#[derive(Debug, thiserror::Error)]
pub(crate) enum StateDirError {
    #[error(
        "could not keep state in {place:?}: {reason} (set {} to a directory that can be made)",
        STATE_DIR.names()
    )]
    Directory { place: PathBuf, reason: io::Error },
    #[error(transparent)]
    Store(#[from] StoreError),
}

pub(crate) struct StateDir {
    /// Closed before the directory is removed.
    files: StoreFiles,
    path: PathBuf,
    temporary: Option<TemporaryDirectory>,
}

impl StateDir {
    /// Opens `named`, which is created for its owner only if it is missing, or
    /// creates a temporary directory; and the database in it.
    ///
    /// # Errors
    /// When one of them cannot be created or opened; names it.
    pub(crate) fn open(named: Option<&Path>) -> Result<Self, StateDirError> {
        let failed = |place: &Path| {
            let place = place.to_owned();
            |reason| StateDirError::Directory { place, reason }
        };
        let (path, temporary) = match named {
            None => {
                let created = TemporaryDirectory::create().map_err(failed(&std::env::temp_dir()))?;
                (created.path().to_owned(), Some(created))
            }
            Some(named) => {
                DirBuilder::new().recursive(true).mode(0o700).create(named).map_err(failed(named))?;
                // A worker may have another working directory.
                (fs::canonicalize(named).map_err(failed(named))?, None)
            }
        };
        Ok(Self { files: StoreFiles::create(&path)?, path, temporary })
    }

    /// Opens the temporary one at `path`, of a cluster that this one succeeds.
    ///
    /// # Errors
    /// When it is gone, or cannot be opened.
    pub(crate) fn succeed(path: &Path) -> Result<Self, StateDirError> {
        let failed = |reason| StateDirError::Directory { place: path.to_owned(), reason };
        let temporary = Some(TemporaryDirectory::succeed(path).map_err(failed)?);
        Ok(Self { files: StoreFiles::create(path)?, path: path.to_owned(), temporary })
    }

    /// Its path, if it goes away with the cluster.
    pub(crate) fn temporary(&self) -> Option<String> {
        self.temporary.as_ref().map(|_| self.path.to_string_lossy().into_owned())
    }

    /// Decides whether it goes away with the cluster.
    pub(crate) fn ownership(&self) -> Option<Arc<AtomicBool>> {
        self.temporary.as_ref().map(TemporaryDirectory::ownership)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn identity(&self) -> StoreIdentity {
        self.files.identity()
    }
}
