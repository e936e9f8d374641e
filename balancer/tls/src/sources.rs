//! Where certificates are read from, and whether that has changed.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::client_ca::{self, ClientCaError};
use crate::directory::{self, DirectoryError};
use crate::files::PairFiles;

/// Files with certificates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    pub pairs: Vec<PairFiles>,
    /// A directory with further pairs.
    pub directory: Option<PathBuf>,
    /// Certificates of the authorities that sign clients' certificates, if clients need one.
    pub client_ca: Option<PathBuf>,
}

/// What files look like from outside: the same files with the same content have the same
/// one, and a file that was written or replaced has another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint(Vec<(PathBuf, Option<Identity>)>);

type Identity = (u64, u64, u64, i64, i64, i64, i64);

impl Sources {
    /// Are there any certificates to be?
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty() && self.directory.is_none()
    }

    /// The pairs as of now. The directory's come last.
    ///
    /// # Errors
    /// When the directory cannot be read, or has none.
    pub fn list(&self) -> Result<Vec<PairFiles>, DirectoryError> {
        let mut pairs = self.pairs.clone();
        if let Some(directory) = &self.directory {
            pairs.extend(directory::pairs(directory)?);
        }
        Ok(pairs)
    }

    /// Could the authorities of clients be used, if there are to be any?
    ///
    /// # Errors
    /// When their file cannot be read, or has something else in it.
    pub fn check_client_ca(&self) -> Result<(), ClientCaError> {
        self.client_ca.as_deref().map(client_ca::verifier).transpose().map(drop)
    }

    /// What all files look like now, links followed, as certbot and Kubernetes exchange links.
    pub fn fingerprint(&self) -> Fingerprint {
        // A directory that cannot be read looks as if it were empty.
        let listed = self.list().unwrap_or_else(|_| self.pairs.clone());
        let files = listed.into_iter().flat_map(|pair| [pair.certificate, pair.key]);
        let files = files.chain(self.client_ca.clone());
        Fingerprint(
            files.map(|path| (identity(&path), path)).map(|(identity, path)| (path, identity)).collect(),
        )
    }
}

fn identity(path: &Path) -> Option<Identity> {
    let found = std::fs::metadata(path).ok()?;
    let (modified, changed) = ((found.mtime(), found.mtime_nsec()), (found.ctime(), found.ctime_nsec()));
    Some((found.dev(), found.ino(), found.size(), modified.0, modified.1, changed.0, changed.1))
}
