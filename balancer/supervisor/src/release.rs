//! What processes are started from: an executable, the variables of environment files and
//! a working directory. They are opened together, and adopted or discarded together.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use shared_protocol::ReleaseChanges;
use tracing::warn;

use crate::directory::{DirectoryError, WorkingDirectory};
use crate::executable::Executable;
use crate::program::Program;

/// Where workers run whose directory is gone and who need none.
const ROOT: &str = "/";

/// Variables of environment files, by their names.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Variables(pub BTreeMap<String, OsString>);

/// Values may be passwords, so only the names are shown.
impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Reads the files from which workers get variables.
pub trait EnvironmentFiles: fmt::Debug + Send {
    /// What they hold now.
    ///
    /// # Errors
    /// When one of them cannot be read or understood; names it.
    fn read(&self) -> io::Result<Variables>;

    /// What has changed in other files since the start and no reload takes up, each as a
    /// sentence.
    fn notes(&self) -> Vec<String>;
}

/// Where releases are found, each time anew.
#[derive(Debug)]
pub struct Installation {
    pub program: Program,
    /// Absolute; may lead through links.
    pub directory: PathBuf,
    pub files: Box<dyn EnvironmentFiles>,
}

/// A release whose parts have been read and resolved.
#[derive(Debug)]
pub struct OpenedRelease {
    pub(crate) executable: Executable,
    pub(crate) variables: Variables,
    pub(crate) directory: WorkingDirectory,
}

impl OpenedRelease {
    /// What is installed now, run by `executable`.
    ///
    /// # Errors
    /// When the directory, a file or the program cannot be used; names it.
    pub fn open(installation: &Installation, executable: Executable) -> io::Result<Self> {
        let variables = installation.files.read()?;
        let directory = installation.resolve()?;
        if let Program::Command(line) = &installation.program
            && let Some(name) = line.first()
        {
            let path = variables.0.get("PATH").cloned().or_else(|| std::env::var_os("PATH"));
            if find_executable(name, directory.path(), path).is_none() {
                let place = directory.path().display();
                return Err(io::Error::other(format!("there is no executable file {name:?} (in {place})")));
            }
        }
        Ok(Self { executable, variables, directory })
    }

    /// The names of the variables that environment files have set.
    pub fn variable_names(&self) -> impl Iterator<Item = &str> {
        self.variables.0.keys().map(String::as_str)
    }

    /// How `next` differs from this one.
    pub(crate) fn changes(&self, next: &Self) -> ReleaseChanges {
        let (old, new) = (&self.variables.0, &next.variables.0);
        let names = |from: &BTreeMap<String, OsString>, is: &dyn Fn(&String, &OsString) -> bool| {
            from.iter().filter(|(name, value)| is(name, value)).map(|(name, _)| name.clone()).collect()
        };
        let moved = self.directory.path() != next.directory.path();
        ReleaseChanges {
            directory: moved.then(|| next.directory.path().display().to_string()),
            added: names(new, &|name, _| !old.contains_key(name)),
            changed: names(new, &|name, value| old.get(name).is_some_and(|before| before != value)),
            removed: names(old, &|name, _| !new.contains_key(name)),
            notes: Vec::new(),
        }
    }

    /// Makes sure that workers can be started in its directory. When that is gone or replaced, it is
    /// resolved anew, as otherwise none could be started until the next reload.
    ///
    /// # Errors
    /// When that cannot be used either; says why.
    pub(crate) fn settle(&mut self, installation: &Installation) -> io::Result<()> {
        let Err(gone) = self.directory.check() else { return Ok(()) };
        self.directory = installation.resolve()?;
        warn!("{gone}: workers are started in {} from now on", self.directory.path().display());
        Ok(())
    }
}

impl Installation {
    /// The directory that its path leads to now. The bundled worker reads no files of its
    /// directory, so it does without one rather than not run.
    fn resolve(&self) -> io::Result<WorkingDirectory> {
        let unusable = |err: DirectoryError| io::Error::other(err.to_string());
        match (WorkingDirectory::resolve(&self.directory), &self.program) {
            (Err(_), Program::Bundled) => WorkingDirectory::resolve(Path::new(ROOT)).map_err(unusable),
            (resolved, _) => resolved.map_err(unusable),
        }
    }
}

/// The file that may be executed and that execvp(3), called in `directory` with this
/// `PATH`, would find for `name`.
pub fn find_executable(name: &OsStr, directory: &Path, path: Option<OsString>) -> Option<PathBuf> {
    let is_program =
        |path: &PathBuf| path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok();
    if name.as_encoded_bytes().contains(&b'/') {
        return Some(directory.join(name)).filter(is_program);
    }
    let path = path.unwrap_or_else(|| "/bin:/usr/bin".into());
    std::env::split_paths(&path).map(|searched| directory.join(searched).join(name)).find(is_program)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(variables: &[(&str, &str)], directory: &str) -> OpenedRelease {
        let variables = variables.iter().map(|&(name, value)| (name.to_owned(), value.into())).collect();
        OpenedRelease {
            executable: Executable::own().unwrap(),
            variables: Variables(variables),
            directory: WorkingDirectory::resolve(Path::new(directory)).unwrap(),
        }
    }

    #[test]
    fn changes_have_names_and_no_values() {
        let old = release(&[("KEPT", "1"), ("OTHER", "secret"), ("GONE", "secret")], "/");
        let new = release(&[("KEPT", "1"), ("OTHER", "hidden"), ("NEW", "hidden")], "/proc");
        let changes = old.changes(&new);
        assert_eq!((changes.added.join(","), changes.changed.join(",")), ("NEW".into(), "OTHER".into()));
        assert_eq!((changes.removed.join(","), changes.directory.as_deref()), ("GONE".into(), Some("/proc")));
        assert!(old.changes(&old).is_empty());
        assert_eq!(format!("{:?}", new.variables), r#"{"KEPT", "NEW", "OTHER"}"#);
    }

    #[test]
    fn programs_are_looked_for_where_they_would_be_run() {
        let found = |name: &str, directory: &str, path: Option<&str>| {
            find_executable(OsStr::new(name), Path::new(directory), path.map(OsString::from)).is_some()
        };
        assert!(found("sh", "/", None) && found("./sh", "/bin", None) && found("bin/sh", "/", None));
        assert!(found("sh", "/", Some("bin")), "a relative part of PATH");
        assert!(!found("sh", "/", Some("/proc")) && !found("./sh", "/", None));
        assert!(!found("/etc/passwd", "/", None) && !found("/bin", "/", None));
    }
}
