//! Where the cluster's control socket may lie.

use std::path::Path;
use std::sync::Arc;

use balancer_admin::control::{Place, Places, Prepared};
use shared_settings::control::{ClusterName, Directory, directories, socket_name};

/// Bytes that the path of a Unix socket may have (unix(7)).
const PATH_LIMIT: usize = 107;

/// The `chosen` path, or the usual places for the cluster with this name.
pub(crate) fn places(chosen: Option<&Path>, name: &ClusterName) -> Places {
    if let Some(path) = chosen {
        // Absolute, so that the system shows it to those who look for it, unless it is too long then.
        let absolute = std::path::absolute(path).ok().filter(|path| path.as_os_str().len() <= PATH_LIMIT);
        return Places::chosen(absolute.unwrap_or_else(|| path.to_owned()));
    }
    Places::usual(directories().into_iter().map(|directory| usual(directory, socket_name(name))))
}

fn usual(directory: Directory, name: String) -> Place {
    Arc::new(move || {
        let prepared = directory.prepare().map_err(|err| err.to_string())?;
        let owns_directory = matches!(directory, Directory::Below(_));
        Ok(Prepared { path: prepared.join(&name), owns_directory })
    })
}
