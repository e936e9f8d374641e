//! The working directory of workers: named by a path that may lead through symbolic
//! links, and resolved when a release is opened, so that all workers of a release run in
//! one directory, whatever the links say later.

use std::env;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Access, Mode, OFlags, access};

/// Why workers cannot run in a directory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the working directory {} {problem}", path.display())]
pub struct DirectoryError {
    path: PathBuf,
    problem: String,
}

/// The directory that this process was started in, as its user knows it: `$PWD`, which may
/// lead through links, when that names it, as Gunicorn has it.
///
/// # Errors
/// When it has been deleted.
pub fn start_directory() -> Result<PathBuf, DirectoryError> {
    let here = env::current_dir()
        .map_err(|err| DirectoryError { path: PathBuf::from("."), problem: problem(Path::new("."), &err) })?;
    let logical = env::var_os("PWD").map(PathBuf::from).filter(|path| is_plain(path));
    Ok(logical.filter(|path| is_same(path, &here)).unwrap_or(here))
}

/// Absolute and without `.` and `..`, which mean something else once a link has changed.
fn is_plain(path: &Path) -> bool {
    path.is_absolute()
        && path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)))
}

fn is_same(one: &Path, other: &Path) -> bool {
    identity(one).is_some_and(|found| identity(other) == Some(found))
}

/// Device and inode.
fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

/// A directory in which workers can run, without symbolic links in its path.
#[derive(Debug)]
pub struct WorkingDirectory {
    path: PathBuf,
    /// Tells it from another one that is put in its place; none where it may not be opened.
    held: Option<Held>,
}

/// A directory whose inode is given to no other while this is there.
#[derive(Debug)]
struct Held {
    identity: (u64, u64),
    _directory: OwnedFd,
}

impl Held {
    fn open(path: &Path) -> Option<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty()).ok()?;
        Some(Self { identity: identity(path)?, _directory: directory })
    }
}

impl WorkingDirectory {
    /// Follows the links in `named`.
    ///
    /// # Errors
    /// When there is no such directory or it may not be entered; says what is wrong with
    /// which path.
    pub fn resolve(named: &Path) -> Result<Self, DirectoryError> {
        let at = |path: PathBuf| Self { held: Held::open(&path), path };
        let own = at(named.to_owned());
        if own.is_own() {
            return Ok(own);
        }
        let unusable = |err| DirectoryError { path: named.to_owned(), problem: problem(named, &err) };
        let resolved = at(fs::canonicalize(named).map_err(unusable)?);
        resolved.check().map_err(|err| DirectoryError { path: named.to_owned(), ..err })?;
        Ok(resolved)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Can workers still run in it?
    ///
    /// # Errors
    /// When they cannot; says why.
    pub(crate) fn check(&self) -> Result<(), DirectoryError> {
        let unusable = |problem| Err(DirectoryError { path: self.path.clone(), problem });
        match fs::metadata(&self.path) {
            // Who is in it can stay, even where it may not be looked at.
            _ if self.is_own() => Ok(()),
            Err(err) => unusable(problem(&self.path, &err)),
            Ok(found) if !found.is_dir() => unusable("is not a directory".to_owned()),
            Ok(found)
                if self.held.as_ref().is_some_and(|held| held.identity != (found.dev(), found.ino())) =>
            {
                unusable("has been replaced by another one".to_owned())
            }
            Ok(_) => access(&self.path, Access::EXEC_OK)
                .map_err(io::Error::from)
                .or_else(|err| unusable(problem(&self.path, &err))),
        }
    }

    /// Is it this process's own, which a child has without entering it? The kernel gives
    /// that one's path without links, and none when it has been deleted (getcwd(3)).
    pub(crate) fn is_own(&self) -> bool {
        env::current_dir().is_ok_and(|here| here == self.path)
    }
}

/// What is wrong with `path`, in words.
fn problem(path: &Path, err: &io::Error) -> String {
    match err.kind() {
        io::ErrorKind::NotFound => match fs::read_link(path) {
            Ok(target) => format!("is a link to {}, which does not exist", target.display()),
            Err(_) => "does not exist".to_owned(),
        },
        io::ErrorKind::PermissionDenied => "may not be entered (permission denied)".to_owned(),
        io::ErrorKind::NotADirectory => "is not a directory".to_owned(),
        _ if err.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            "has symbolic links that lead in a circle".to_owned()
        }
        _ => format!("cannot be used: {err}"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_followed_and_what_is_wrong_is_said() {
        let root = env::temp_dir().join(format!("directory-test-{}", std::process::id()));
        let at = |name: &str| root.join(name);
        fs::create_dir_all(at("releases/1")).unwrap();
        fs::write(at("file"), "").unwrap();
        symlink("releases/1", at("current")).unwrap();
        symlink("nowhere", at("dangling")).unwrap();
        symlink("loop", at("loop")).unwrap();
        let found = WorkingDirectory::resolve(&at("current")).unwrap();
        assert_eq!(found.path(), fs::canonicalize(at("releases/1")).unwrap());
        for (name, part) in [
            ("none", "none does not exist"),
            ("dangling", "dangling is a link to nowhere, which does not exist"),
            ("loop", "in a circle"),
            ("file", "file is not a directory"),
            ("file/x", "x is not a directory"),
        ] {
            let err = WorkingDirectory::resolve(&at(name)).unwrap_err().to_string();
            assert!(err.contains(part) && err.contains(root.to_str().unwrap()), "{name}: {err}");
        }
        fs::remove_dir_all(at("releases/1")).unwrap();
        assert!(found.check().unwrap_err().to_string().ends_with("releases/1 does not exist"));
        fs::create_dir_all(at("releases/2")).unwrap();
        fs::rename(at("releases/2"), at("releases/1")).unwrap();
        assert!(
            found.check().unwrap_err().to_string().ends_with("releases/1 has been replaced by another one")
        );
        fs::remove_dir(at("releases/1")).unwrap();
        fs::write(at("releases/1"), "").unwrap();
        assert!(found.check().unwrap_err().to_string().ends_with("is not a directory"));
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn a_logical_path_has_no_dots() {
        assert!(is_plain(Path::new("/srv/app")));
        for bad in ["srv", "", "/srv/../app", "./srv"] {
            assert!(!is_plain(Path::new(bad)), "{bad}");
        }
    }
}
