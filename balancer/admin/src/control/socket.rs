//! The control socket's file: made for the own user only, made anew when it is gone,
//! and removed at the end if it is still the same one.

use std::fmt::Write as _;
use std::fs::Metadata;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, UCred, sockopt};
use tracing::{info, warn};

/// Between two looks at whether the file is still there: one stat(2).
const LOOK: Duration = Duration::from_secs(2);
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;
/// For everybody: such a directory's files are safe from others only if it is sticky.
const WRITABLE_BY_ALL: u32 = 0o002;
const STICKY: u32 = 0o1000;

/// A place for the socket: its path, once its directory is fit for it, or why it is not.
pub type Place = Arc<dyn Fn() -> Result<PathBuf, String> + Send + Sync>;

/// Where the socket may lie. The first place that will do has it.
#[derive(Clone)]
pub struct Places(Vec<Place>);

impl Places {
    /// Only there.
    pub fn chosen(path: PathBuf) -> Self {
        Self(vec![Arc::new(move || Ok(path.clone()))])
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
    #[error("there is {0}, which is not a socket")]
    NoSocket(&'static str),
    #[error("there is no such directory")]
    NoDirectory,
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl From<Errno> for PlaceError {
    fn from(err: Errno) -> Self {
        Self::Io(err.into())
    }
}

fn described(peer: &Option<UCred>) -> String {
    let Some(peer) = peer else { return String::new() };
    let user = peer.uid.as_raw();
    let whose = if peer.uid == rustix::process::geteuid() { String::new() } else { format!(" of user {user}") };
    format!(": process {}{whose}", peer.pid.as_raw_nonzero())
}

/// Device and inode, by which a file is known.
type Identity = (u64, u64);

/// The bound socket; its file goes away with it.
#[derive(Debug)]
pub struct ControlSocket {
    pub(super) listener: StdUnixListener,
    pub path: PathBuf,
    identity: Identity,
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
            let path = match place() {
                Ok(path) => path,
                Err(why) => {
                    let _ = write!(text, "{}{why}", separator(&text));
                    continue;
                }
            };
            match Self::bind_to(&path) {
                Ok(socket) => return Ok(socket),
                Err(err) => {
                    let is_in_use = matches!(err, PlaceError::InUse(_));
                    if is_in_use {
                        text.clear();
                    }
                    let _ = write!(text, "{}{}: {err}", separator(&text), path.display());
                    if is_in_use {
                        break;
                    }
                }
            }
        }
        Err(SocketError { text })
    }

    fn bind_to(path: &Path) -> Result<Self, PlaceError> {
        remove_stale(path)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        // The file gets the mode that the socket has, less the umask, and so is never open
        // to others, not even for a moment (unix_bind in the kernel's net/unix/af_unix.c).
        rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
        rustix::net::bind(&socket, &SocketAddrUnix::new(path)?).map_err(|err| match err {
            Errno::NOENT => PlaceError::NoDirectory,
            err => err.into(),
        })?;
        // Independent of any working directory.
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let identity = identity(&std::fs::symlink_metadata(&path)?);
        rustix::net::listen(&socket, BACKLOG)?;
        Ok(Self { listener: StdUnixListener::from(socket), path, identity })
    }

    /// Does the path still lead here? Somebody may have swept the directory.
    fn is_there(&self) -> bool {
        std::fs::symlink_metadata(&self.path).is_ok_and(|found| identity(&found) == self.identity)
    }

    /// Returns another socket when the file of this one is gone.
    pub(super) async fn renewed(&self, places: &Places) -> Self {
        let mut said = None;
        loop {
            tokio::time::sleep(LOOK).await;
            if self.is_there() {
                continue;
            }
            match Self::bind(places) {
                Ok(renewed) => {
                    info!(control = %renewed.path.display(), "the control socket's file was gone: made anew");
                    return renewed;
                }
                Err(err) => {
                    let why = err.to_string();
                    if said.as_ref() != Some(&why) {
                        warn!("the control socket's file is gone, and cannot be made anew yet: {why}");
                    }
                    said = Some(why);
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
        if self.is_there() {
            // Nothing can be done about it, and the next start replaces it.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn separator(text: &str) -> &'static str {
    if text.is_empty() { "" } else { "; " }
}

fn identity(file: &Metadata) -> Identity {
    (file.dev(), file.ino())
}

/// Makes room at `path` if a socket lies there on which nobody listens any more.
fn remove_stale(path: &Path) -> Result<(), PlaceError> {
    let found = match std::fs::symlink_metadata(path) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    let kind = found.file_type();
    if !kind.is_socket() {
        return Err(PlaceError::NoSocket(if kind.is_symlink() {
            "a symbolic link"
        } else if kind.is_dir() {
            "a directory"
        } else {
            "another file"
        }));
    }
    match connect(path) {
        // Not everybody may connect, and who does not take connections is still there.
        Ok(socket) => Err(PlaceError::InUse(sockopt::socket_peercred(&socket).ok())),
        Err(Errno::AGAIN | Errno::ACCESS) => Err(PlaceError::InUse(None)),
        Err(Errno::CONNREFUSED) => {
            // Another cluster may have been faster.
            if std::fs::symlink_metadata(path).is_ok_and(|now| identity(&now) == identity(&found)) {
                std::fs::remove_file(path)?;
            }
            Ok(())
        }
        Err(Errno::NOENT) => Ok(()),
        Err(err) => Err(err.into()),
    }
}

/// Connects without waiting for somebody who takes no connections.
fn connect(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn bind(path: &Path) -> Result<ControlSocket, String> {
        ControlSocket::bind(&Places::chosen(path.to_owned())).map_err(|err| err.to_string())
    }

    #[test]
    fn the_socket_is_private_and_goes_away() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        let socket = bind(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let second = bind(&path).unwrap_err();
        let own = format!("another cluster listens on it: process {} (set --control", std::process::id());
        assert!(second.contains(&own), "{second}");
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn who_takes_no_connections_still_has_the_socket() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        let socket = bind(&path).unwrap();
        rustix::net::listen(&socket.listener, 0).unwrap();
        let _waiting = UnixStream::connect(&path).unwrap();
        assert_eq!(connect(&path).unwrap_err(), Errno::AGAIN);
        let second = bind(&path).unwrap_err();
        assert!(second.contains("another cluster listens on it"), "{second}");
    }

    #[test]
    fn what_a_killed_cluster_left_is_replaced_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        drop(StdUnixListener::bind(&path).unwrap());
        assert!(path.exists());
        drop(bind(&path).unwrap());
        let makes: [fn(&Path); 3] = [
            |path| std::fs::write(path, "precious").unwrap(),
            |path| std::fs::create_dir(path).unwrap(),
            |path| std::os::unix::fs::symlink("/nonexistent", path).unwrap(),
        ];
        for (index, make) in makes.into_iter().enumerate() {
            let path = directory.path().join(index.to_string());
            make(&path);
            let before = identity(&std::fs::symlink_metadata(&path).unwrap());
            let err = bind(&path).unwrap_err();
            assert!(err.contains("which is not a socket"), "{err}");
            assert_eq!(identity(&std::fs::symlink_metadata(&path).unwrap()), before, "it is left alone");
        }
        let missing = bind(&directory.path().join("no/control.sock")).unwrap_err();
        assert!(missing.contains("there is no such directory"), "{missing}");
    }

    #[test]
    fn the_file_of_another_cluster_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        let first = bind(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let second = bind(&path).unwrap();
        assert!(!first.is_there() && second.is_there());
        drop(first);
        assert!(UnixStream::connect(&path).is_ok(), "it is still there");
    }

    #[test]
    fn the_first_place_that_will_do_has_the_socket() {
        let directory = tempfile::tempdir().unwrap();
        let place = |path: PathBuf| -> Place { Arc::new(move || Ok(path.clone())) };
        let file = directory.path().join("file");
        std::fs::write(&file, "").unwrap();
        let good = directory.path().join("good.sock");
        let bad = || {
            vec![
                Arc::new(|| Err("others may write to it".to_owned())) as Place,
                place(file.clone()),
                place(directory.path().join("x".repeat(108))),
                place("/nonexistent/control.sock".into()),
            ]
        };
        let err = ControlSocket::bind(&Places::usual(bad())).unwrap_err().to_string();
        for why in ["others may write to it; ", "another file", "name too long", "no such directory (set"] {
            assert!(err.contains(why), "{err}");
        }
        let places = || Places::usual(bad().into_iter().chain([place(good.clone())]));
        let socket = ControlSocket::bind(&places()).unwrap();
        assert_eq!(socket.path, good);
        let err = ControlSocket::bind(&places()).unwrap_err().to_string();
        assert!(err.contains("good.sock: another cluster") && !err.contains("others may"), "{err}");
    }

    #[test]
    fn whoever_else_can_replace_it_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let socket = bind(&directory.path().join("control.sock")).unwrap();
        assert_eq!(socket.exposure(), None);
        let mode = |mode| {
            std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        };
        mode(0o777);
        assert!(socket.exposure().unwrap().contains("everybody can replace it"));
        mode(0o1777);
        assert_eq!(socket.exposure(), None);
        mode(0o700);
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_is_gone_is_made_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        let places = Places::chosen(path.clone());
        let socket = ControlSocket::bind(&places).unwrap();
        let unchanged = tokio::time::timeout(LOOK * 3, socket.renewed(&places)).await;
        assert!(unchanged.is_err(), "nothing is made anew while it is there");
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "in the way").unwrap();
        let blocked = tokio::time::timeout(LOOK * 3, socket.renewed(&places)).await;
        assert!(blocked.is_err(), "not while something lies there");
        std::fs::remove_file(&path).unwrap();
        let renewed = socket.renewed(&places).await;
        drop(socket);
        assert!(renewed.is_there() && UnixStream::connect(&path).is_ok());
    }
}
