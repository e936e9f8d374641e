//! Where control sockets lie, unless somebody has chosen a path.
//!
//! The first directory that will do has the socket, in this order: `$XDG_RUNTIME_DIR`,
//! `/run/user/UID`, and a directory of the user's own below the temporary one. Who asks
//! looks into all of them, as it may have another environment than the cluster: cron,
//! sudo and systemd do. Root looks into those of all users.
//!
//! A socket is only as trustworthy as its directory: one that others may write to is
//! not used, and whoever asks compares the user at the other end.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{DirBuilder, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Where logind makes a directory for each user that is logged in (pam_systemd(8)).
const RUN: &str = "/run/user";
/// Where programs without `TMPDIR` have their temporary files.
const TEMPORARY: &str = "/tmp";
/// What names begin with.
const PREFIX: &str = "balancer-";
/// The bits of a mode that let others write: group and everybody.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// A directory that may have the socket of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Directory {
    /// Is there, or is not used.
    Existing(PathBuf),
    /// Is made below this one.
    Below(PathBuf),
}

/// Why a directory does not have the socket.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    #[error("{}: {reason}", path.display())]
    Io { path: PathBuf, reason: io::Error },
    #[error("{} is not a directory", .0.display())]
    NotADirectory(PathBuf),
    #[error("{} belongs to user {owner}, not to {user}", path.display())]
    NotOwned { path: PathBuf, owner: u32, user: u32 },
    #[error("others may write to {} (mode {:o})", path.display(), mode & 0o7777)]
    Shared { path: PathBuf, mode: u32 },
}

/// Directories for the socket of a cluster of this user, best first.
pub fn directories() -> Vec<Directory> {
    let existing = runtime_directories(user()).into_iter().map(Directory::Existing);
    existing.chain(temporary_directories().into_iter().map(Directory::Below)).collect()
}

impl Directory {
    /// The directory, which is private now.
    ///
    /// # Errors
    /// When it cannot be had, or is not this user's alone.
    pub fn prepare(&self) -> Result<PathBuf, DirectoryError> {
        match self {
            Self::Existing(path) => check(path, std::fs::metadata(path), user()).map(|()| path.clone()),
            Self::Below(temporary) => own_directory(temporary, user()),
        }
    }
}

/// By which a cluster is known: where its clients connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClusterName {
    Port(u16),
    /// As `unix:/PATH` or `unix:@NAME`, of a cluster without a port.
    Unix(String),
}

impl ClusterName {
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Port(port) => Some(*port),
            Self::Unix(_) => None,
        }
    }

    /// As it stands in names of files, which have no room for a path.
    fn in_file_name(&self) -> String {
        match self {
            Self::Port(port) => port.to_string(),
            Self::Unix(text) => format!("unix-{:016x}", fnv_1a(text.as_bytes())),
        }
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(port) => write!(f, "port {port}"),
            Self::Unix(text) => f.write_str(text),
        }
    }
}

/// The same in every version of this program (FNV-1a with 64 bits, Fowler, Noll and Vo).
fn fnv_1a(bytes: &[u8]) -> u64 {
    let step = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// The file name of the socket of the cluster with this name.
pub fn socket_name(name: &ClusterName) -> String {
    format!("{PREFIX}{}.sock", name.in_file_name())
}

/// The sockets that lie in the default places, those of the cluster with this name or all:
/// this user's, and for root everybody's after its own. Whether anybody listens on them,
/// and who, is for the caller to find out.
pub fn sockets(cluster: Option<&ClusterName>) -> Vec<PathBuf> {
    let wanted = cluster.map(ClusterName::in_file_name);
    let mut found = Vec::new();
    let user = user();
    let mut look = |directory: &Path, owner: Option<u32>| {
        let names = entries(directory).into_iter().filter(|name| {
            let named = cluster_of(name, owner);
            named.is_some_and(|named| wanted.as_ref().is_none_or(|wanted| *wanted == named))
        });
        for path in names.map(|name| directory.join(name)) {
            if !found.contains(&path) {
                found.push(path);
            }
        }
    };
    for directory in runtime_directories(user) {
        look(&directory, None);
    }
    let temporary = temporary_directories();
    for directory in temporary.iter().flat_map(|temporary| owned_directories(temporary, Some(user))) {
        look(&directory, None);
    }
    // Where versions up to 0.1 have put it.
    temporary.iter().for_each(|directory| look(directory, Some(user)));
    if user == 0 {
        for name in entries(Path::new(RUN)) {
            look(&Path::new(RUN).join(name), None);
        }
        for directory in temporary.iter().flat_map(|temporary| owned_directories(temporary, None)) {
            look(&directory, None);
        }
    }
    found
}

fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Those that the system or the session makes for `user`.
fn runtime_directories(user: u32) -> Vec<PathBuf> {
    let named = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    // A relative path is invalid and is to be ignored (XDG Base Directory Specification).
    let mut found: Vec<_> = named.into_iter().filter(|path| path.is_absolute()).collect();
    let usual = Path::new(RUN).join(user.to_string());
    if !found.contains(&usual) {
        found.push(usual);
    }
    found
}

/// That of `TMPDIR`, which may be another one elsewhere, and the usual one.
fn temporary_directories() -> Vec<PathBuf> {
    let mut found = vec![PathBuf::from(TEMPORARY)];
    let named = std::env::temp_dir();
    // An empty `TMPDIR` names none, and would be wherever the program was started.
    if !named.as_os_str().is_empty() && named != found[0] {
        found.insert(0, named);
    }
    found
}

/// Names in `directory`, sorted; none when it cannot be read.
fn entries(directory: &Path) -> Vec<OsString> {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    let mut names: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.file_name())).collect();
    names.sort_unstable();
    names
}

/// The cluster in the name of a socket, which has its owner in it where users share the directory.
fn cluster_of(name: &OsStr, owner: Option<u32>) -> Option<&str> {
    let rest = name.to_str()?.strip_prefix(PREFIX)?.strip_suffix(".sock")?;
    let named = match owner {
        Some(owner) => rest.strip_prefix(&format!("{owner}-"))?,
        None => rest,
    };
    let is_unix = |rest: &str| rest.len() == 16 && rest.bytes().all(|byte| byte.is_ascii_hexdigit());
    let fits = named.parse::<u16>().is_ok() || named.strip_prefix("unix-").is_some_and(is_unix);
    fits.then_some(named)
}

/// The user in the name of a directory: `balancer-UID`, or `balancer-UID-RANDOM` where
/// somebody else had that.
fn owner_of(name: &OsStr) -> Option<u32> {
    let rest = name.to_str()?.strip_prefix(PREFIX)?;
    rest.split_once('-').map_or(rest, |(owner, _)| owner).parse().ok()
}

/// The directories below `temporary` that belong to the user in their name: of one user or all.
fn owned_directories(temporary: &Path, of: Option<u32>) -> Vec<PathBuf> {
    let owned = entries(temporary).into_iter().filter_map(|name| {
        let owner = owner_of(&name).filter(|&owner| of.is_none_or(|of| of == owner))?;
        let path = temporary.join(name);
        let metadata = std::fs::symlink_metadata(&path);
        check(&path, metadata, owner).ok().map(|()| path)
    });
    owned.collect()
}

/// The directory of `user` below `temporary`, made if there is none. Others may make one
/// of that name first, so there is a second name that nobody can foresee.
fn own_directory(temporary: &Path, user: u32) -> Result<PathBuf, DirectoryError> {
    if let Some(found) = owned_directories(temporary, Some(user)).into_iter().next() {
        return Ok(found);
    }
    let usual = temporary.join(format!("{PREFIX}{user}"));
    match DirBuilder::new().mode(0o700).create(&usual) {
        Ok(()) => return Ok(usual),
        Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {}
        Err(reason) => return Err(DirectoryError::Io { path: usual, reason }),
    }
    // Another cluster may have been faster.
    if check(&usual, std::fs::symlink_metadata(&usual), user).is_ok() {
        return Ok(usual);
    }
    let other = temporary.join(format!("{PREFIX}{user}-{:016x}", random()));
    match DirBuilder::new().mode(0o700).create(&other) {
        Ok(()) => Ok(other),
        Err(reason) => Err(DirectoryError::Io { path: other, reason }),
    }
}

/// The standard library's hashers start from random numbers of the system's.
fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}

/// Is this a directory of `user` that nobody else may write to?
fn check(path: &Path, metadata: io::Result<Metadata>, user: u32) -> Result<(), DirectoryError> {
    let path = path.to_owned();
    match metadata {
        Err(reason) => Err(DirectoryError::Io { path, reason }),
        Ok(found) if !found.is_dir() => Err(DirectoryError::NotADirectory(path)),
        Ok(found) if found.uid() != user => Err(DirectoryError::NotOwned { path, owner: found.uid(), user }),
        Ok(found) if found.mode() & WRITABLE_BY_OTHERS != 0 => {
            Err(DirectoryError::Shared { path, mode: found.mode() })
        }
        Ok(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
