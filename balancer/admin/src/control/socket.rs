//! The control socket's file: made for the own user only, made anew when it is gone,
//! and removed at the end if it is still the same one.

use std::fmt::Write as _;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::UCred;
use rustix::process::Pid;
use shared_process::unix_socket::{self, Access, BindError, FileMark, Ownership, SocketFile};
use tracing::{info, warn};

/// Between two looks at whether the file is still there: one stat(2).
const LOOK: Duration = Duration::from_secs(2);
/// Before the second try to make it anew; doubles with each further one. After an upgrade the
/// predecessor may have made it anew in the last moment, and leaves it then.
const RETRY: Duration = Duration::from_millis(50);
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;
/// For everybody: such a directory's files are safe from others only if it is sticky.
const WRITABLE_BY_ALL: u32 = 0o002;
const STICKY: u32 = 0o1000;

/// A place for the socket, once its directory is fit for it, or why it is not.
pub type Place = Arc<dyn Fn() -> Result<Prepared, String> + Send + Sync>;

/// A place that is fit for the socket.
#[derive(Debug, Clone)]
pub struct Prepared {
    pub path: PathBuf,
    /// The directory is there for sockets only, and goes away with the last one.
    pub owns_directory: bool,
}

/// Where the socket may lie. The first place that will do has it.
#[derive(Clone)]
pub struct Places(Vec<Place>);

impl Places {
    /// Only there.
    pub fn chosen(path: PathBuf) -> Self {
        Self(vec![Arc::new(move || Ok(Prepared { path: path.clone(), owns_directory: false }))])
    }

    /// The first of several that will do.
    pub fn usual(places: impl IntoIterator<Item = Place>) -> Self {
        Self(places.into_iter().collect())
    }
}

impl std::fmt::Debug for Places {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Places({})", self.0.len())
    }
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
#[error("could not make the control socket {text} (set --control or CLUSTER_CONTROL)")]
pub struct SocketError {
    text: String,
}

/// Why a place does not do.
#[derive(Debug, thiserror::Error)]
enum PlaceError {
    /// Whose it is would be taken away from its users by another place.
    #[error("another cluster listens on it{}", described(.0))]
    InUse(Option<UCred>),
    #[error("{0}")]
    NotFit(String),
    #[error(transparent)]
    Bind(BindError),
}

impl From<io::Error> for PlaceError {
    fn from(err: io::Error) -> Self {
        Self::Bind(err.into())
    }
}

impl From<Errno> for PlaceError {
    fn from(err: Errno) -> Self {
        Self::Bind(err.into())
    }
}

impl From<BindError> for PlaceError {
    fn from(err: BindError) -> Self {
        match err {
            BindError::InUse(peer) => Self::InUse(peer),
            err => Self::Bind(err),
        }
    }
}

fn described(peer: &Option<UCred>) -> String {
    let Some(peer) = peer else { return String::new() };
    let user = peer.uid.as_raw();
    let whose =
        if peer.uid == rustix::process::geteuid() { String::new() } else { format!(" of user {user}") };
    format!(": process {}{whose}", peer.pid.as_raw_nonzero())
}

/// The bound socket.
#[derive(Debug)]
pub struct ControlSocket {
    pub(super) listener: StdUnixListener,
    pub path: PathBuf,
    owns_directory: bool,
    /// Removed before the listener is closed, if this cluster has made it.
    file: Option<SocketFile>,
    in_use: SocketInUse,
}

/// The socket on which a cluster is reached, also after its file was made anew.
#[derive(Debug, Clone, Default)]
pub struct SocketInUse(Arc<Mutex<Option<(OwnedFd, FileMark)>>>);

impl SocketInUse {
    /// Another descriptor of it; none when nobody finds it by its file.
    ///
    /// # Errors
    /// When there are too many descriptors.
    pub fn try_clone(&self) -> io::Result<Option<OwnedFd>> {
        let socket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let there = socket.as_ref().filter(|(_, file)| file.is_there());
        there.map(|(socket, _)| socket.try_clone()).transpose()
    }

    fn set(&self, socket: Option<(OwnedFd, FileMark)>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = socket;
    }
}

impl ControlSocket {
    /// Binds the first of `places` that will do, for the own user only. What a cluster
    /// that was killed has left there is replaced.
    ///
    /// # Errors
    /// When another cluster listens there, or none of them will do.
    pub fn bind(places: &Places) -> Result<Self, SocketError> {
        let mut text = String::new();
        for place in &places.0 {
            match Self::bind_at(place) {
                Ok(socket) => return Ok(socket),
                Err((path, err @ PlaceError::InUse(_))) => {
                    text = format!("{}: {err}", path.display());
                    break;
                }
                Err((path, err)) => {
                    let separator = if text.is_empty() { "" } else { "; " };
                    let place = if path.as_os_str().is_empty() {
                        String::new()
                    } else {
                        format!("{}: ", path.display())
                    };
                    let _ = write!(text, "{separator}{place}{err}");
                }
            }
        }
        Err(SocketError { text })
    }

    /// Also says which path does not do, if there is one.
    fn bind_at(place: &Place) -> Result<Self, (PathBuf, PlaceError)> {
        let bind = || {
            let prepared = place().map_err(|why| (PathBuf::new(), PlaceError::NotFit(why)))?;
            Self::bind_to(&prepared).map_err(|err| (prepared.path, err))
        };
        match bind() {
            // Another cluster has ended, and its directory has gone with it.
            Err((_, PlaceError::Bind(BindError::NoDirectory))) => bind(),
            bound => bound,
        }
    }

    fn bind_to(prepared: &Prepared) -> Result<Self, PlaceError> {
        let (listener, file) = unix_socket::bind(&prepared.path, Access::PRIVATE, BACKLOG)?;
        let path = file.path().to_owned();
        Ok(Self {
            listener,
            path,
            owns_directory: prepared.owns_directory,
            file: Some(file),
            in_use: SocketInUse::default(),
        })
    }

    /// Takes a socket that somebody else has bound and listens on. Its file stays where it
    /// is: whoever has made it passes the socket on again.
    ///
    /// # Errors
    /// When another cluster listens on it as well, or when it has no path in the file system
    /// by which clients could find it.
    pub fn inherit(listener: StdUnixListener) -> Result<Self, SocketError> {
        let taken = || {
            let address = listener.local_addr()?;
            let path = address.as_pathname().ok_or_else(|| io::Error::other("it has no path"))?;
            listener.set_nonblocking(true)?;
            other_cluster(path).map_or(Ok(()), Err)?;
            // Clients learn from the socket which process it is that has listened last (unix(7),
            // SO_PEERCRED).
            rustix::net::listen(&listener, BACKLOG)?;
            Ok(SocketFile::of_another(path)?)
        };
        let file = taken().map_err(|err: PlaceError| SocketError {
            text: format!("from the one that was passed: {err}"),
        })?;
        Ok(Self {
            listener,
            path: file.path().to_owned(),
            owns_directory: false,
            file: Some(file),
            in_use: SocketInUse::default(),
        })
    }

    /// Takes over a socket, with its directory if that is a cluster's own, from a cluster that
    /// serves it until this one does ([`Self::claim`]).
    ///
    /// # Errors
    /// When it has no path in the file system by which clients could find it.
    pub fn succeed(listener: StdUnixListener, owns_directory: bool) -> Result<Self, SocketError> {
        let taken = || {
            let address = listener.local_addr()?;
            let path = address.as_pathname().ok_or_else(|| io::Error::other("it has no path"))?;
            listener.set_nonblocking(true)?;
            Ok(SocketFile::of_another(path)?)
        };
        let file = taken()
            .map_err(|err: PlaceError| SocketError { text: format!("from the predecessor's: {err}") })?;
        Ok(Self {
            listener,
            path: file.path().to_owned(),
            owns_directory,
            file: Some(file),
            in_use: SocketInUse::default(),
        })
    }

    /// Clients learn from the socket which process it is that has listened last (unix(7),
    /// SO_PEERCRED): this one from now on.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn claim(&self) -> io::Result<()> {
        Ok(rustix::net::listen(&self.listener, BACKLOG)?)
    }

    /// Decides whether file and directory are removed at the end.
    pub fn ownership(&self) -> Ownership {
        self.file.as_ref().map(SocketFile::ownership).unwrap_or_default()
    }

    pub fn owns_directory(&self) -> bool {
        self.owns_directory
    }

    /// What leads to it from now on, whatever becomes of its file.
    ///
    /// # Errors
    /// When there are too many descriptors.
    pub fn in_use(&self) -> io::Result<SocketInUse> {
        self.show()?;
        Ok(self.in_use.clone())
    }

    fn show(&self) -> io::Result<()> {
        let socket = self.listener.as_fd().try_clone_to_owned()?;
        self.in_use.set(self.file.as_ref().map(|file| (socket, file.mark())));
        Ok(())
    }

    /// Does the path still lead here? Somebody may have swept the directory.
    fn is_there(&self) -> bool {
        self.file.as_ref().is_some_and(SocketFile::is_there)
    }

    /// Returns another socket when the file of this one is gone.
    pub(super) async fn renewed(&mut self, places: &Places) -> Self {
        let mut said = None;
        let mut retry = RETRY;
        loop {
            if self.is_there() {
                tokio::time::sleep(LOOK).await;
                retry = RETRY;
                continue;
            }
            match Self::bind(places) {
                Ok(mut renewed) => {
                    if let Some((made, gone)) = renewed.file.take().zip(self.file.as_ref()) {
                        renewed.file = Some(made.instead_of(gone));
                    }
                    renewed.in_use = std::mem::take(&mut self.in_use);
                    if let Err(err) = renewed.show() {
                        warn!(%err, "the control socket cannot be handed on to a successor");
                    }
                    info!(control = %renewed.path.display(), "the control socket's file was gone: made anew");
                    return renewed;
                }
                Err(err) => {
                    let why = err.to_string();
                    if said.as_ref() != Some(&why) {
                        warn!("the control socket's file is gone, and cannot be made anew yet: {why}");
                    }
                    said = Some(why);
                    tokio::time::sleep(retry).await;
                    retry = (2 * retry).min(LOOK);
                }
            }
        }
    }

    /// Who else can put another socket in the place of this one, if anybody can.
    pub fn exposure(&self) -> Option<String> {
        let directory = self.path.parent()?;
        let found = std::fs::metadata(directory).ok()?;
        let (owner, mode) = (found.uid(), found.mode());
        if mode & WRITABLE_BY_ALL != 0 && mode & STICKY == 0 {
            return Some(format!(
                "everybody can replace it, as {} is open to all (chmod +t)",
                directory.display()
            ));
        }
        let is_safe = owner == 0 || owner == rustix::process::geteuid().as_raw();
        (!is_safe).then(|| format!("user {owner} can replace it, who owns {}", directory.display()))
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // While it listens, nobody takes its file for a stale one.
        let owns_file = self.ownership().is_held();
        drop(self.file.take());
        self.in_use.set(None);
        if self.owns_directory
            && owns_file
            && let Some(directory) = self.path.parent()
        {
            // Fails when another cluster has its socket there.
            let _ = std::fs::remove_dir(directory);
        }
    }
}

/// The cluster that has been passed the socket at `path` as well, and still runs: each one
/// listens on it anew, and the system keeps who was the last. The process that has passed it
/// may have done so too.
fn other_cluster(path: &Path) -> Option<PlaceError> {
    let last = unix_socket::listening(path)?;
    let name = |pid: Pid| std::fs::read(format!("/proc/{}/comm", pid.as_raw_nonzero())).ok();
    let own = rustix::process::getpid();
    let is_cluster = last.pid != own && name(last.pid).is_some_and(|other| Some(other) == name(own));
    (is_cluster && Some(last.pid) != rustix::process::getppid()).then_some(PlaceError::InUse(Some(last)))
}

#[cfg(test)]
mod tests;
