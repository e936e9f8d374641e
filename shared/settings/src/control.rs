//! Where the control socket lies.

use std::path::{Path, PathBuf};

/// The control socket of the cluster on `port`, unless somebody has chosen another path.
pub fn default_control_path(port: u16) -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|directory| Path::new(directory).is_dir()) {
        Some(directory) => Path::new(&directory).join(format!("balancer-{port}.sock")),
        // Users share the temporary directory, so the name says whose socket it is.
        None => {
            let user = rustix::process::getuid().as_raw();
            std::env::temp_dir().join(format!("balancer-{user}-{port}.sock"))
        }
    }
}
