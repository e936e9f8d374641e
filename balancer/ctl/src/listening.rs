//! Who listens on a control socket?

use std::os::unix::net::UnixStream;
use std::path::Path;

use shared_protocol::Status;

use crate::cluster::Cluster;

/// What listens on a control path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listening {
    /// Nothing: the path is free, or left over.
    Nothing,
    /// A cluster that this user may operate.
    Cluster { pid: u32 },
    /// Something else, or a cluster that does not answer.
    Stranger,
}

/// Asks whoever listens on the control socket at `path` who it is.
pub fn listening(path: &Path) -> Listening {
    let Ok(stream) = UnixStream::connect(path) else { return Listening::Nothing };
    let peer = rustix::net::sockopt::socket_peercred(&stream).ok();
    drop(stream);
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return Listening::Stranger;
    };
    let status = runtime.block_on(async { Cluster::connect(path).await?.read::<Status>("/status").await });
    match (status, peer) {
        (Ok(_), Some(peer)) => Listening::Cluster { pid: peer.pid.as_raw_nonzero().get().cast_unsigned() },
        _ => Listening::Stranger,
    }
}
