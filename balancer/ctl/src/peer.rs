//! Who listens on a control socket. Only the user's own programs and root's are believed;
//! root believes everybody in what only they can have put there.

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use tokio::net::UnixStream;

/// Everybody may write to a directory with this bit in its mode.
const WRITABLE_BY_ALL: u32 = 0o002;

/// The process that listens at the other end (SO_PEERCRED in unix(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer {
    /// 0 when it is in another pid namespace.
    pub(crate) pid: u32,
    pub(crate) user: u32,
}

impl Peer {
    pub(crate) fn of(stream: &UnixStream) -> io::Result<Self> {
        let found = stream.peer_cred()?;
        Ok(Self { pid: found.pid().map_or(0, i32::unsigned_abs), user: found.uid() })
    }

    /// Is it of the user who asks?
    pub(crate) fn is_own(self) -> bool {
        self.user == own_user()
    }

    /// May it be believed, when `asking` has found it at `path`?
    ///
    /// # Errors
    /// When it may not; says whose it is.
    pub(crate) fn check(self, path: &Path, asking: u32) -> Result<(), Stranger> {
        let trusted = match asking {
            _ if self.user == asking || self.user == 0 => true,
            0 => self.has_put(path),
            _ => false,
        };
        if trusted { Ok(()) } else { Err(Stranger::new(path, self)) }
    }

    /// What root can do about it.
    fn remedy(self) -> String {
        if own_user() != 0 {
            return String::new();
        }
        format!(" (setpriv --reuid {0} --regid {0} --clear-groups balancer … asks as that user)", self.user)
    }

    /// Is the socket at `path` its own, in a directory where only it or root can put one?
    fn has_put(self, path: &Path) -> bool {
        let Ok(path) = std::fs::canonicalize(path) else { return false };
        let directory = path.parent().and_then(|directory| std::fs::metadata(directory).ok());
        let owns = std::fs::symlink_metadata(&path).is_ok_and(|file| file.uid() == self.user);
        owns && directory.is_some_and(|found| {
            let is_roots = found.uid() == 0 && found.mode() & WRITABLE_BY_ALL == 0;
            found.uid() == self.user || is_roots
        })
    }
}

/// Somebody who is not believed.
#[derive(Debug, thiserror::Error)]
#[error(
    "{path} leads to a program of {} (pid {}), which may not be the cluster that is meant: it was not asked{}",
    User(peer.user), peer.pid, .peer.remedy()
)]
pub(crate) struct Stranger {
    path: String,
    peer: Peer,
}

impl Stranger {
    pub(crate) fn new(path: &Path, peer: Peer) -> Self {
        Self { path: path.display().to_string(), peer }
    }
}

/// A user, by name where the system's own list has one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct User(pub(crate) u32);

impl User {
    pub(crate) fn name(self) -> String {
        let list = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        self.name_in(&list).unwrap_or_else(|| self.0.to_string())
    }

    /// As in passwd(5): name, password and number come first.
    fn name_in(self, list: &str) -> Option<String> {
        list.lines().find_map(|line| {
            let mut parts = line.split(':');
            let (name, number) = (parts.next()?, parts.nth(1)?);
            (number.parse() == Ok(self.0)).then(|| name.to_owned())
        })
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name();
        if name == self.0.to_string() {
            write!(f, "user {}", self.0)
        } else {
            write!(f, "user {name} ({})", self.0)
        }
    }
}

pub(crate) fn own_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_own_user_and_root_are_believed() {
        let path = Path::new("/nonexistent/control.sock");
        let is_believed = |user, asking| Peer { pid: 7, user }.check(path, asking).is_ok();
        assert!(is_believed(1000, 1000) && is_believed(0, 1000) && is_believed(0, 0));
        assert!(!is_believed(1001, 1000), "somebody else's");
        assert!(!is_believed(1001, 0), "root cannot see that it is theirs");
        let err = Peer { pid: 7, user: 4_000_000 }.check(path, 1000).unwrap_err().to_string();
        assert!(
            err.contains("user 4000000 (pid 7)") && err.starts_with("/nonexistent/control.sock"),
            "{err}"
        );
    }

    #[test]
    fn names_are_those_of_the_list() {
        let list = "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/home/alice:\nbroken\n";
        assert_eq!(User(1000).name_in(list).as_deref(), Some("alice"));
        assert_eq!(User(1001).name_in(list), None);
    }
}
