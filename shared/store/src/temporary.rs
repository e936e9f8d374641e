//! A place for state that nobody gave a name: removed at the end, and, after a
//! sudden end, by whoever makes the next one.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

const PREFIX: &str = "cluster-state-";
/// In the directory, says to everyone who uses it that it will not be kept.
const MARK: &str = "removed-at-exit";
/// A younger directory without a mark may belong to a process that has not
/// locked it yet; the mark comes after the lock.
const SAFE_AGE: Duration = Duration::from_secs(60);

/// A new directory for this user only, below `$TMPDIR` or `/tmp`; dropping this
/// removes it.
pub struct TemporaryDirectory {
    directory: PathBuf,
    /// It is removed at the end. Can be given away meanwhile.
    is_owned: Arc<AtomicBool>,
    /// Shared lock that says it is in use; ends with the process in any case.
    _in_use: File,
}

impl Drop for TemporaryDirectory {
    fn drop(&mut self) {
        if self.is_owned.load(Ordering::Relaxed) {
            // What cannot be removed is, when the next one is made.
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

impl TemporaryDirectory {
    /// Also removes what processes that were killed have left behind.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create() -> io::Result<Self> {
        Self::create_in(&parent())
    }

    fn create_in(parent: &Path) -> io::Result<Self> {
        let owner_only = Permissions::from_mode(0o700);
        let directory = tempfile::Builder::new().prefix(PREFIX).permissions(owner_only).tempdir_in(parent)?;
        let in_use = File::open(directory.path())?;
        in_use.lock_shared()?;
        File::create_new(directory.path().join(MARK))?;
        sweep(parent);
        Ok(Self { directory: directory.keep(), is_owned: Arc::new(true.into()), _in_use: in_use })
    }

    /// One that another process has made, and owns until [`Self::ownership`] is set here and not
    /// there.
    ///
    /// # Errors
    /// When it is not there any more, or was not made by [`Self::create`].
    pub fn succeed(directory: &Path) -> io::Result<Self> {
        let in_use = File::open(directory)?;
        in_use.lock_shared()?;
        if !is_temporary(directory) {
            return Err(io::Error::other("it is no directory of a temporary store"));
        }
        Ok(Self { directory: directory.to_owned(), is_owned: Arc::default(), _in_use: in_use })
    }

    /// Decides whether it is removed at the end.
    pub fn ownership(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_owned)
    }

    pub fn path(&self) -> &Path {
        &self.directory
    }
}

/// That of `TMPDIR`, unless it is empty, which would be wherever the program was started.
fn parent() -> PathBuf {
    let named = std::env::temp_dir();
    if named.as_os_str().is_empty() { PathBuf::from("/tmp") } else { named }
}

/// Was `directory` made by [`TemporaryDirectory::create`], in whichever process?
pub(super) fn is_temporary(directory: &Path) -> bool {
    directory.join(MARK).exists()
}

fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        if ours && is_abandoned(&entry.path()).unwrap_or(false) {
            // Someone else's, or being removed by another process: leave it.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn is_abandoned(path: &Path) -> io::Result<bool> {
    // Not what a symbolic link leads to.
    let metadata = fs::symlink_metadata(path)?;
    let age = SystemTime::now().duration_since(metadata.modified()?).unwrap_or_default();
    let settled = is_temporary(path) || age >= SAFE_AGE;
    Ok(metadata.is_dir() && settled && File::open(path)?.try_lock().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn age(path: &Path) {
        File::open(path).unwrap().set_modified(SystemTime::now() - 2 * SAFE_AGE).unwrap();
    }

    #[test]
    fn only_what_is_abandoned_is_swept() {
        let parent = tempfile::tempdir().unwrap();
        let at = |name: &str| parent.path().join(name);
        let in_use = TemporaryDirectory::create_in(parent.path()).unwrap();
        for name in ["cluster-state-old", "cluster-state-young", "cluster-state-killed", "other-old"] {
            fs::create_dir(at(name)).unwrap();
            fs::write(at(name).join("file"), "").unwrap();
        }
        File::create(at("cluster-state-killed").join(MARK)).unwrap();
        let mode = fs::metadata(in_use.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        std::os::unix::fs::symlink(at("other-old"), at("cluster-state-link")).unwrap();
        for path in [in_use.path(), &at("cluster-state-old"), &at("other-old")] {
            age(path);
        }
        let next = TemporaryDirectory::create_in(parent.path()).unwrap();
        assert!(!at("cluster-state-old").exists() && !at("cluster-state-killed").exists());
        assert!(at("cluster-state-young").exists() && at("other-old/file").exists());
        assert!(is_temporary(next.path()) && !is_temporary(&at("other-old")));
        assert!(in_use.path().exists() && next.path().exists());
        let place = next.path().to_owned();
        drop(next);
        assert!(!place.exists());
    }
}
