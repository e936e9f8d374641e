//! How this program was started, so that another one can be started like it.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The path is not followed: what it leads to when it is used is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Invocation {
    pub(crate) executable: PathBuf,
    pub(crate) arguments: Vec<OsString>,
}

impl Invocation {
    /// That of this process. To be called at its start, before anything on disk is replaced.
    pub(crate) fn own() -> Self {
        let mut arguments = std::env::args_os();
        let name = arguments.next().unwrap_or_default();
        let running = std::env::current_exe().unwrap_or_default();
        let executable = named(&name, std::env::var_os("PATH"), &running).unwrap_or(running);
        Self { executable, arguments: arguments.collect() }
    }
}

/// The path that `name` stands for as the first word of a command, if it leads to `running`.
fn named(name: &OsStr, path: Option<OsString>, running: &Path) -> Option<PathBuf> {
    let same = |candidate: &PathBuf| {
        let identity = |path: &Path| path.metadata().ok().map(|found| (found.dev(), found.ino()));
        let found = identity(candidate);
        found.is_some() && found == identity(running)
    };
    if name.as_encoded_bytes().contains(&b'/') {
        return std::path::absolute(name).ok().filter(same);
    }
    std::env::split_paths(&path?).map(|directory| directory.join(name)).find(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_kept_and_names_are_found_on_the_path() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("one"), directory.path().join("two"));
        std::fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert_eq!(named(link.as_os_str(), None, &file), Some(link.clone()));
        let path = Some(OsString::from(format!("/nowhere:{}", directory.path().display())));
        assert_eq!(named(OsStr::new("two"), path.clone(), &file), Some(link));
        assert_eq!(named(OsStr::new("three"), path, &file), None, "called by a name of its own");
        assert_eq!(named(OsStr::new("/bin/sh"), None, &file), None, "another program");
    }
}
