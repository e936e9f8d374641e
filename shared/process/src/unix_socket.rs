//! Unix sockets that programs listen on: the file is made with its permissions before
//! anybody can connect, what a program that was killed has left is replaced, and what is
//! somebody else's is left alone.

use std::fs::Metadata;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, UCred, sockopt};

/// For the own user only: what the file has until it gets its own permissions.
const PRIVATE: u32 = 0o600;

/// Who may connect to a socket, by the permissions of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// Whatever the umask is.
    pub mode: u32,
    /// Other than the program's own user.
    pub user: Option<u32>,
    pub group: Option<u32>,
}

impl Access {
    /// The own user may connect.
    pub const PRIVATE: Self = Self { mode: PRIVATE, user: None, group: None };
}

/// Why a path cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Who it is, where that is known.
    #[error("address in use{}", described(.0))]
    InUse(Option<UCred>),
    #[error("there is {0}, which is not a socket")]
    NoSocket(&'static str),
    #[error("there is no such directory")]
    NoDirectory,
    #[error("could not give it to user {} and group {}: {reason}", shown(*user), shown(*group))]
    Owner { user: Option<u32>, group: Option<u32>, reason: io::Error },
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl From<Errno> for BindError {
    fn from(err: Errno) -> Self {
        Self::Io(err.into())
    }
}

fn described(peer: &Option<UCred>) -> String {
    peer.as_ref().map(|peer| format!(" by process {}", peer.pid.as_raw_nonzero())).unwrap_or_default()
}

fn shown(id: Option<u32>) -> String {
    id.map_or_else(|| "as it is".to_owned(), |id| id.to_string())
}

/// Device and inode, by which a file is known.
type Identity = (u64, u64);

/// The file of a socket. That of one that was bound here is removed with this, if it is
/// still the same one.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    identity: Identity,
    /// Keeps the inode, so that no other file gets its number.
    held: OwnedFd,
    ownership: Ownership,
}

/// Which file a socket had, to be asked for as long as its [`SocketFile`] lives.
#[derive(Debug, Clone)]
pub struct FileMark {
    path: PathBuf,
    identity: Identity,
}

impl FileMark {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// As [`SocketFile::is_there`].
    pub fn is_there(&self) -> bool {
        std::fs::symlink_metadata(&self.path).is_ok_and(|found| identity(&found) == self.identity)
    }
}

/// Does a file go away with this program? Can be given away while the socket is served.
#[derive(Debug, Clone, Default)]
pub struct Ownership(Arc<AtomicBool>);

impl Ownership {
    pub fn set(&self, owns: bool) {
        self.0.store(owns, Ordering::Relaxed);
    }

    pub fn is_held(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl SocketFile {
    /// The file of a socket that somebody else has made, and keeps.
    ///
    /// # Errors
    /// When there is no socket at `path`.
    pub fn of_another(path: &Path) -> Result<Self, BindError> {
        let file = Self::held(std::fs::canonicalize(path)?)?;
        file.ownership.set(false);
        Ok(file)
    }

    /// Decides whether it is removed.
    pub fn ownership(&self) -> Ownership {
        self.ownership.clone()
    }

    /// It takes the place of a file that is gone, and is kept or removed as that would be.
    #[must_use]
    pub fn instead_of(mut self, gone: &Self) -> Self {
        gone.ownership.set(true);
        self.ownership = gone.ownership();
        self
    }

    /// Independent of any working directory, where that fits a socket's address.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// For others who ask whether it is still there.
    pub fn mark(&self) -> FileMark {
        FileMark { path: self.path.clone(), identity: self.identity }
    }

    /// Does the path still lead here? Somebody may have swept the directory.
    pub fn is_there(&self) -> bool {
        self.mark().is_there()
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.ownership.is_held() && self.is_there() {
            // Nothing can be done about it, and the next start replaces it.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Listens on `path`, with room for `backlog` connections that wait. What a program that was
/// killed has left there is replaced.
///
/// # Errors
/// When somebody listens there, something else than a socket lies there, or the system
/// refuses. Nothing is left behind then.
pub fn bind(path: &Path, access: Access, backlog: i32) -> Result<(UnixListener, SocketFile), BindError> {
    remove_stale(path)?;
    let socket = socket()?;
    // The file gets the mode that the socket has, less the umask, and so is never open to
    // others before its time (unix_bind in the kernel's net/unix/af_unix.c).
    rustix::fs::fchmod(&socket, Mode::from_raw_mode(PRIVATE))?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?).map_err(|err| match err {
        Errno::NOENT => BindError::NoDirectory,
        Errno::ADDRINUSE => BindError::InUse(None),
        err => err.into(),
    })?;
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let file = SocketFile::held(path)?;
    if access != Access::PRIVATE {
        file.permit(access)?;
    }
    // Until here, who connects is refused.
    rustix::net::listen(&socket, backlog)?;
    Ok((UnixListener::from(socket), file))
}

/// Listens on an abstract `name`, which has no file and no permissions.
///
/// # Errors
/// When somebody listens there, or the system refuses.
pub fn bind_abstract(name: &str, backlog: i32) -> Result<UnixListener, BindError> {
    let socket = socket()?;
    let address = SocketAddrUnix::new_abstract_name(name.as_bytes())?;
    rustix::net::bind(&socket, &address).map_err(|err| match err {
        Errno::ADDRINUSE => BindError::InUse(connect(&address).ok().and_then(|socket| peer(&socket))),
        err => err.into(),
    })?;
    rustix::net::listen(&socket, backlog)?;
    Ok(UnixListener::from(socket))
}

/// Whether [`bind`] would find `path` free; leaves everything as it is.
///
/// # Errors
/// As [`bind`], as far as a look can tell.
pub fn look(path: &Path) -> Result<(), BindError> {
    match std::fs::symlink_metadata(path) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
        found => is_stale(path, &found?).map(|_| ()),
    }
}

/// Who listens on `path`: the process that has called listen(2) last (unix(7), SO_PEERCRED).
pub fn listening(path: &Path) -> Option<UCred> {
    peer(&connect(&SocketAddrUnix::new(path).ok()?).ok()?)
}

impl SocketFile {
    fn held(path: PathBuf) -> Result<Self, BindError> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let held = rustix::fs::open(&path, flags, Mode::empty())?;
        let found = rustix::fs::fstat(&held)?;
        if FileType::from_raw_mode(found.st_mode) != FileType::Socket {
            return Err(BindError::NoSocket("another file"));
        }
        Ok(Self {
            path,
            identity: (found.st_dev, found.st_ino),
            held,
            ownership: Ownership(Arc::new(AtomicBool::new(true))),
        })
    }

    /// Gives the file its owner and mode, even where somebody exchanges it meanwhile.
    fn permit(&self, access: Access) -> Result<(), BindError> {
        let Access { mode, user, group } = access;
        if user.is_some() || group.is_some() {
            let (uid, gid) = (user.map(Uid::from_raw), group.map(Gid::from_raw));
            rustix::fs::chownat(self.held.as_fd(), "", uid, gid, AtFlags::EMPTY_PATH)
                .map_err(|err| BindError::Owner { user, group, reason: err.into() })?;
        }
        // A descriptor of this kind takes no fchmod(2) (open(2), O_PATH).
        let path = format!("/proc/self/fd/{}", self.held.as_raw_fd());
        Ok(rustix::fs::chmod(path, Mode::from_raw_mode(mode))?)
    }
}

fn socket() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

fn identity(file: &Metadata) -> Identity {
    (file.dev(), file.ino())
}

/// Makes room at `path` if a socket lies there on which nobody listens any more.
fn remove_stale(path: &Path) -> Result<(), BindError> {
    let found = match std::fs::symlink_metadata(path) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    // Another program may have been faster.
    if is_stale(path, &found)?
        && std::fs::symlink_metadata(path).is_ok_and(|now| identity(&now) == identity(&found))
    {
        std::fs::remove_file(path)?;
    }
    Ok(())
}

/// Is it a socket on which nobody listens? Otherwise it has gone by itself.
fn is_stale(path: &Path, found: &Metadata) -> Result<bool, BindError> {
    let kind = found.file_type();
    if !kind.is_socket() {
        return Err(BindError::NoSocket(if kind.is_symlink() {
            "a symbolic link"
        } else if kind.is_dir() {
            "a directory"
        } else {
            "another file"
        }));
    }
    match connect(&SocketAddrUnix::new(path)?) {
        // Not everybody may connect, and who does not take connections is still there.
        Ok(socket) => Err(BindError::InUse(peer(&socket))),
        // A socket of another type is somebody's as well.
        Err(Errno::AGAIN | Errno::ACCESS | Errno::PROTOTYPE) => Err(BindError::InUse(None)),
        Err(Errno::CONNREFUSED) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(err) => Err(err.into()),
    }
}

/// Connects without waiting for somebody who takes no connections.
fn connect(address: &SocketAddrUnix) -> Result<OwnedFd, Errno> {
    let socket = socket()?;
    rustix::net::connect(&socket, address)?;
    Ok(socket)
}

fn peer(socket: &OwnedFd) -> Option<UCred> {
    sockopt::socket_peercred(socket).ok()
}

#[cfg(test)]
mod tests;
