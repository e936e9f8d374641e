//! The executable that workers are started from, held open: what is put in its
//! place on disk is taken up by a reload, and by nothing else.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};

#[derive(Debug, Clone)]
pub struct Executable {
    file: Arc<OwnedFd>,
    installed: PathBuf,
}

impl Executable {
    /// The one that this process runs.
    ///
    /// # Errors
    /// When the proc file system is not mounted.
    pub fn own() -> io::Result<Self> {
        let installed = std::env::current_exe()?;
        Ok(Self { file: open(Path::new("/proc/self/exe"))?, installed })
    }

    /// What lies at the same place now.
    ///
    /// # Errors
    /// When nothing does, or nothing that can be run; names the place.
    pub fn installed_now(&self) -> io::Result<Self> {
        let named = |err: rustix::io::Errno| {
            io::Error::new(io::Error::from(err).kind(), format!("could not run {:?}: {err}", self.installed))
        };
        rustix::fs::access(&self.installed, rustix::fs::Access::EXEC_OK).map_err(named)?;
        let file = open(&self.installed).map_err(|err| {
            io::Error::new(err.kind(), format!("could not open {:?}: {err}", self.installed))
        })?;
        Ok(Self { file, installed: self.installed.clone() })
    }

    /// A name for the open file that holds in this process and in its children
    /// until they have become what it names (proc_pid_fd(5)).
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }
}

fn open(path: &Path) -> io::Result<Arc<OwnedFd>> {
    Ok(Arc::new(rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?))
}
