//! Where the cluster's control socket may lie.

use std::path::Path;
use std::sync::Arc;

use balancer_admin::control::{Place, Places};
use shared_settings::control::{Directory, directories, socket_name};

/// The `chosen` path, or the usual places for the cluster on `port`.
pub(crate) fn places(chosen: Option<&Path>, port: u16) -> Places {
    if let Some(path) = chosen {
        return Places::chosen(path.to_owned());
    }
    Places::usual(directories().into_iter().map(|directory| usual(directory, port)))
}

fn usual(directory: Directory, port: u16) -> Place {
    Arc::new(move || {
        let prepared = directory.prepare().map_err(|err| err.to_string())?;
        Ok(prepared.join(socket_name(port)))
    })
}
