//! Other processes.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// The program of this name that was built beside this one.
pub fn beside(name: &str) -> PathBuf {
    std::env::current_exe().unwrap().with_file_name(name)
}

/// A command whose process dies with this thread.
pub fn guarded(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(beside("verify"));
    command.arg("guarded-child").arg(std::process::id().to_string()).arg(program).stdin(Stdio::null());
    command
}

/// Outlives this process, unless somebody kills it.
pub fn orphan() -> Child {
    Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap()
}
