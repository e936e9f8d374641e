//! What a process does first that its primary has started.

use std::ffi::CString;
use std::io;

use rustix::process::Signal;
use shared_protocol::WORKER_ID_VAR;

/// First thing in a worker process: die with the primary, however that dies,
/// and be told apart in `ps` and `top`.
///
/// # Errors
/// When `primary` is not this process's parent, which means that the primary
/// died before the request was made, or when the kernel refuses it.
pub fn enter(primary: Option<u32>) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let id = std::env::var(WORKER_ID_VAR).unwrap_or_default();
    if let Ok(name) = CString::new(format!("worker-{id}")) {
        rustix::thread::set_name(&name)?;
    }
    if is_child_of(primary) { Ok(()) } else { Err(io::Error::other("the primary is gone")) }
}

/// Is `parent` this process's parent?
pub(crate) fn is_child_of(parent: Option<u32>) -> bool {
    let found = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    Some(found.cast_unsigned()) == parent
}
