//! Which files a store consists of. All processes of a cluster must have the same ones
//! open: when they have been removed, or others lie in their place, a process that opens
//! the path would begin a second store beside that of the others. So the files are told
//! apart by device and inode, as stat(2) has them.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::Connection;

use super::database::{self, Use};
use super::place::{FILE_NAME, create, describe, in_use, is_durable, not_created};
use crate::StoreError;

/// What SQLite puts behind the database's name for its write-ahead log and that one's
/// index (<https://www.sqlite.org/walformat.html>).
const SUFFIXES: [&str; 2] = ["-wal", "-shm"];

/// Device and inode of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

/// Names the directory, the database and its write-ahead log, whatever their paths lead
/// to later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreIdentity {
    directory: FileId,
    database: FileId,
    /// None where the file system does not support them.
    log: [Option<FileId>; 2],
}

impl FileId {
    fn of(path: &Path) -> io::Result<Self> {
        fs::metadata(path).map(|found| Self { device: found.dev(), inode: found.ino() })
    }
}

impl StoreIdentity {
    /// Of the store in `directory`, which somebody has open.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn of(directory: &Path) -> io::Result<Self> {
        Ok(Self {
            directory: FileId::of(directory)?,
            database: FileId::of(&directory.join(FILE_NAME))?,
            log: log_paths(directory).map(|path| FileId::of(&path).ok()),
        })
    }

    /// Is it still the one in `directory`?
    ///
    /// # Errors
    /// [`StoreError::Lost`], which says what is missing or has been replaced.
    pub(super) fn check(&self, directory: &Path) -> Result<(), StoreError> {
        let [log, index] = log_paths(directory);
        let files = [
            (directory.to_owned(), Some(self.directory)),
            (directory.join(FILE_NAME), Some(self.database)),
            (log, self.log[0]),
            (index, self.log[1]),
        ];
        for (path, expected) in files {
            let Some(expected) = expected else { continue };
            let problem = match FileId::of(&path) {
                Ok(found) if found == expected => continue,
                Ok(_) => "has been replaced".to_owned(),
                Err(err) if err.kind() == io::ErrorKind::NotFound => "has been removed".to_owned(),
                Err(err) => format!("cannot be reached: {err}"),
            };
            return Err(StoreError::Lost(format!("{} {problem}", path.display())));
        }
        Ok(())
    }
}

fn log_paths(directory: &Path) -> [PathBuf; 2] {
    SUFFIXES.map(|suffix| {
        let mut name = OsString::from(FILE_NAME);
        name.push(suffix);
        directory.join(name)
    })
}

/// As one word, for the environment of a process that is to open the same store.
impl fmt::Display for StoreIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, file) in
            [Some(self.directory), Some(self.database), self.log[0], self.log[1]].into_iter().enumerate()
        {
            let comma = if index == 0 { "" } else { "," };
            match file {
                Some(FileId { device, inode }) => write!(f, "{comma}{device}:{inode}")?,
                None => write!(f, "{comma}-")?,
            }
        }
        Ok(())
    }
}

/// What is no identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it does not name the files of a store")]
pub struct NoIdentity;

impl FromStr for StoreIdentity {
    type Err = NoIdentity;

    fn from_str(text: &str) -> Result<Self, NoIdentity> {
        let file = |text: &str| match text.split_once(':') {
            None if text == "-" => Ok(None),
            None => Err(NoIdentity),
            Some((device, inode)) => match (device.parse(), inode.parse()) {
                (Ok(device), Ok(inode)) => Ok(Some(FileId { device, inode })),
                _ => Err(NoIdentity),
            },
        };
        let files = text.split(',').map(file).collect::<Result<Vec<_>, _>>()?;
        match files[..] {
            [Some(directory), Some(database), log, index] => {
                Ok(Self { directory, database, log: [log, index] })
            }
            _ => Err(NoIdentity),
        }
    }
}

/// The files of a store, created or opened by the one process that outlives all others
/// which use them: while it has them open, SQLite removes none of them.
pub struct StoreFiles {
    identity: StoreIdentity,
    /// Keeps its inode from being given to another directory, and programs that clean
    /// temporary directories from cleaning this one.
    _in_use: Option<File>,
    /// Idle. Closing it as the last one tidies the files up.
    _connection: Connection,
}

impl StoreFiles {
    /// Those in `directory`; both are created when missing, for this user only.
    ///
    /// # Errors
    /// [`StoreError::Open`] when it cannot be written or is no database.
    pub fn create(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join(FILE_NAME);
        let failed = |reason: String| StoreError::Open { place: path.display().to_string(), reason };
        create(directory, &path).map_err(|err| failed(not_created(&err)))?;
        let purpose = Use { writes: true, durable: is_durable(directory) };
        let connection = database::open(&path, purpose).map_err(|err| failed(describe(&err.into())))?;
        let identity = StoreIdentity::of(directory).map_err(|err| failed(err.to_string()))?;
        Ok(Self { identity, _in_use: in_use(directory), _connection: connection })
    }

    pub fn identity(&self) -> StoreIdentity {
        self.identity
    }
}

/// Files that are looked at now and then.
pub(super) struct Watched {
    directory: PathBuf,
    identity: StoreIdentity,
    lost: AtomicBool,
}

impl Watched {
    pub(super) fn new(directory: &Path, identity: StoreIdentity) -> Self {
        Self { directory: directory.to_owned(), identity, lost: AtomicBool::new(false) }
    }

    /// What [`Self::look`] has found last, at no cost where nothing is wrong.
    pub(super) fn seen(&self) -> Result<(), StoreError> {
        if self.lost.load(Ordering::Relaxed) { self.identity.check(&self.directory) } else { Ok(()) }
    }

    /// As [`Self::look`], of the database alone where that is still there: one call of the
    /// system, for each write.
    pub(super) fn look_at_database(&self) -> Result<(), StoreError> {
        let found = FileId::of(&self.directory.join(FILE_NAME));
        if found.is_ok_and(|found| found == self.identity.database) { Ok(()) } else { self.look() }
    }

    pub(super) fn look(&self) -> Result<(), StoreError> {
        let found = self.identity.check(&self.directory);
        self.lost.store(found.is_err(), Ordering::Relaxed);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_reads_back_and_tells_stores_apart() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("state");
        let files = StoreFiles::create(&directory).unwrap();
        let identity = files.identity();
        assert!(identity.log.iter().all(Option::is_some), "{identity}");
        assert_eq!(identity.to_string().parse(), Ok(identity));
        let without = StoreIdentity { log: [None; 2], ..identity };
        assert_eq!(without.to_string().parse(), Ok(without));
        for bad in ["", "1:2", "1:2,3:4", "1:2,3:4,-,-,-", "-,1:2,-,-", "1:x,3:4,-,-"] {
            assert_eq!(bad.parse::<StoreIdentity>(), Err(NoIdentity), "{bad:?}");
        }
        assert_eq!(identity.check(&directory), Ok(()));
        for path in [directory.join(FILE_NAME)].into_iter().chain(log_paths(&directory)) {
            let aside = place.path().join("aside");
            fs::rename(&path, &aside).unwrap();
            let said = identity.check(&directory).unwrap_err().to_string();
            assert!(said.contains(&format!("{} has been removed", path.display())), "{said}");
            fs::write(&path, "").unwrap();
            let said = identity.check(&directory).unwrap_err().to_string();
            assert!(said.contains(&format!("{} has been replaced", path.display())), "{said}");
            fs::rename(&aside, &path).unwrap();
            assert_eq!(identity.check(&directory), Ok(()));
        }
    }
}
