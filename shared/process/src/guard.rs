//! Death with the parent: what a process does first that must not outlive the one
//! which has started it.

use std::ffi::CString;
use std::io;

use rustix::process::Signal;

/// Arms the parent-death signal (prctl(2), `PR_SET_PDEATHSIG`): the kernel kills this
/// process when the thread that has started it ends, however it ends.
///
/// # Errors
/// When `parent` is not this process's parent, which means that the parent died
/// before the signal was armed, or when the kernel refuses it.
pub fn die_with(parent: Option<u32>) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    if is_child_of(parent) { Ok(()) } else { Err(io::Error::other("the parent is gone")) }
}

/// Names this thread, as `ps` and `top` show it. The kernel keeps 15 bytes of it.
///
/// # Errors
/// When the kernel refuses it.
pub fn set_thread_name(name: &str) -> io::Result<()> {
    let name = CString::new(name)?;
    Ok(rustix::thread::set_name(&name)?)
}

/// Is `parent` this process's parent?
pub fn is_child_of(parent: Option<u32>) -> bool {
    let found = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    Some(found.cast_unsigned()) == parent
}
