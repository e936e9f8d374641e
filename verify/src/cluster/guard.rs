//! Children that do not outlive this program, even when it is killed.
//!
//! A child is started through this program's own executable, which asks the
//! kernel to be killed with its parent (PR_SET_PDEATHSIG, prctl(2)) and then
//! becomes what was wanted; the request survives execve(2).

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

/// Begins the command line of a guarded child: not for users.
const ARGUMENT: &str = "guarded-child";

/// A command that starts `program` under guard. It must be started from the main
/// thread: the kernel takes the end of the starting thread for the parent's.
pub fn command(program: &Path) -> Command {
    match std::env::current_exe() {
        Ok(own) => {
            let mut command = Command::new(own);
            command.arg(ARGUMENT).arg(std::process::id().to_string()).arg(program);
            command
        }
        Err(_) => Command::new(program),
    }
}

/// Becomes the guarded child when the command line says so; returns otherwise.
///
/// # Errors
/// When the program cannot be started.
pub fn enter(arguments: impl IntoIterator<Item = OsString>) -> io::Result<()> {
    let mut arguments = arguments.into_iter().skip(1);
    if arguments.next().is_none_or(|first| first != ARGUMENT) {
        return Ok(());
    }
    let parent = arguments.next().and_then(|text| text.to_str()?.parse().ok()).and_then(Pid::from_raw);
    let (Some(parent), Some(program)) = (parent, arguments.next()) else {
        return Err(io::Error::other("a guarded child is started by this program only"));
    };
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may have died before it could be watched.
    if getppid() != Some(parent) {
        return Err(io::Error::other("the parent is gone"));
    }
    Err(Command::new(program).args(arguments).exec())
}
