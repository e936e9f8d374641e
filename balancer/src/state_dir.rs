//! Where the embedded store lives: a named directory, or a private temporary
//! one that goes away with the cluster.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use shared::store::TemporaryDirectory;

pub enum StateDir {
    Named(PathBuf),
    Temporary(TemporaryDirectory),
}

impl StateDir {
    /// Uses `named` (made if missing, for its owner only), or makes a temporary
    /// directory.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn open(named: Option<&Path>) -> io::Result<Self> {
        let Some(named) = named else {
            return Ok(Self::Temporary(TemporaryDirectory::create()?));
        };
        DirBuilder::new().recursive(true).mode(0o700).create(named)?;
        // Workers may run elsewhere one day; the path must not depend on it.
        Ok(Self::Named(fs::canonicalize(named)?))
    }

    pub fn path(&self) -> &Path {
        match self {
            Self::Named(path) => path,
            Self::Temporary(directory) => directory.path(),
        }
    }
}
