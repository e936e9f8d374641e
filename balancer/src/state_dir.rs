//! Where the embedded store lives: a named directory, or a private temporary
//! one that goes away with the cluster.
//!
//! A primary that was killed cannot remove its directory. Each temporary one
//! therefore holds a lock file that is locked as long as its primary lives, and
//! the next primary to start removes those whose lock is free.

use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

const PREFIX: &str = "cluster-state-";
const LOCK: &str = "lock";

#[derive(Debug)]
pub enum StateDir {
    Named(PathBuf),
    Temporary {
        directory: TempDir,
        /// Locked; the kernel releases it when the process ends, however it does.
        _lock: File,
    },
}

impl StateDir {
    /// Uses `named` (made if missing, readable by its owner only), or makes a
    /// temporary directory below `parent`.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn open(named: Option<&Path>, parent: &Path) -> io::Result<Self> {
        if let Some(named) = named {
            DirBuilder::new().recursive(true).mode(0o700).create(named)?;
            return Ok(Self::Named(fs::canonicalize(named)?));
        }
        sweep(parent);
        let owner_only = Permissions::from_mode(0o700);
        let directory = tempfile::Builder::new().prefix(PREFIX).permissions(owner_only).tempdir_in(parent)?;
        let lock = File::create(directory.path().join(LOCK))?;
        lock.try_lock()?;
        Ok(Self::Temporary { directory, _lock: lock })
    }

    pub fn path(&self) -> &Path {
        match self {
            Self::Named(path) => path,
            Self::Temporary { directory, .. } => directory.path(),
        }
    }
}

/// Removes what killed primaries have left below `parent`. A directory without
/// its lock file yet is being made by somebody and is left alone.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let ours = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX));
        if !ours {
            continue;
        }
        let Ok(lock) = File::open(path.join(LOCK)) else { continue };
        match lock.try_lock() {
            // What cannot be removed belongs to another user, or will be tried again.
            Ok(()) => drop(fs::remove_dir_all(&path)),
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_directory_is_private_and_goes_away() {
        let parent = tempfile::tempdir().unwrap();
        let state = StateDir::open(None, parent.path()).unwrap();
        let mode = fs::metadata(state.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        drop(state);
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_a_killed_primary_left_is_swept_and_what_lives_is_kept() {
        let parent = tempfile::tempdir().unwrap();
        let living = StateDir::open(None, parent.path()).unwrap();
        let dead = parent.path().join(format!("{PREFIX}dead"));
        fs::create_dir(&dead).unwrap();
        File::create(dead.join(LOCK)).unwrap();
        let strange = parent.path().join("somebody-elses");
        fs::create_dir(&strange).unwrap();
        let next = StateDir::open(None, parent.path()).unwrap();
        assert!(living.path().exists() && next.path().exists() && strange.exists());
        assert!(!dead.exists());
    }

    #[test]
    fn a_named_directory_is_made_and_stays() {
        let parent = tempfile::tempdir().unwrap();
        let named = parent.path().join("a/b");
        drop(StateDir::open(Some(&named), parent.path()).unwrap());
        assert!(named.is_dir());
    }
}
