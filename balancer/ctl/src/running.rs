//! The clusters that run, as far as this user may know of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use shared_protocol::Status;
use shared_settings::control::sockets;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::cluster::Cluster;
use crate::peer::own_user;
use crate::processes;

/// A cluster that takes longer to answer is listed as one that does not.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// What was found of a cluster that runs.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) pid: u32,
    pub(crate) user: u32,
    /// The socket that leads to it; `None` when that is lost.
    pub(crate) control: Option<PathBuf>,
    pub(crate) status: Option<Status>,
    /// Its port, where it does not say so itself.
    pub(crate) port: Option<u16>,
}

/// Every cluster that this user may ask, by port; those at the end whose socket is lost.
pub(crate) async fn all() -> Vec<Running> {
    let primaries = processes::primaries();
    let mut paths: BTreeMap<PathBuf, Option<u32>> =
        sockets(None).into_iter().map(|path| (path, None)).collect();
    for found in &primaries {
        paths.extend(found.sockets.iter().map(|path| (path.clone(), Some(found.pid))));
    }
    let mut asked = JoinSet::new();
    for (path, known) in paths {
        asked.spawn(async move { ask(&path, known).await });
    }
    let mut running: Vec<Running> = Vec::new();
    while let Some(answer) = asked.join_next().await {
        if let Ok(Some(found)) = answer
            && running
                .iter()
                .all(|other| (other.pid, other.user, other.port) != (found.pid, found.user, found.port))
        {
            running.push(found);
        }
    }
    // A primary's Unix sockets for clients are no control sockets.
    let answered: Vec<_> =
        running.iter().filter(|found| found.status.is_some()).map(|found| found.pid).collect();
    running.retain(|found| found.status.is_some() || !answered.contains(&found.pid));
    let user = own_user();
    for lost in primaries.into_iter().filter(|found| !found.sockets.is_empty()) {
        if running.iter().all(|found| found.pid != lost.pid) && (user == 0 || user == lost.user) {
            let (pid, user) = (lost.pid, lost.user);
            let port = lost.addresses.first().map(std::net::SocketAddr::port);
            running.push(Running { pid, user, control: None, status: None, port });
        }
    }
    running.sort_by_key(|found| (found.control.is_none(), found.port, found.pid));
    running
}

async fn ask(path: &Path, known: Option<u32>) -> Option<Running> {
    let looking = async {
        let mut cluster = Cluster::connect_to(path, known).await.ok()?;
        let peer = cluster.peer;
        let status: Option<Status> =
            timeout(ANSWER_TIMEOUT, cluster.read("/status")).await.ok().and_then(Result::ok);
        Some((peer, status))
    };
    let (peer, status) = looking.await?;
    let port: Option<u16> =
        status.as_ref().and_then(|status| status.address.rsplit(':').next()?.parse().ok());
    // Everybody can have a socket of such a name in a directory of their own.
    let is_known = peer.is_own() || known == Some(peer.pid);
    if !is_known && port.is_none_or(|port| processes::serves(peer.pid, port) == Some(false)) {
        return None;
    }
    // Where this user's namespace has no pid for it, its own is better than none.
    let pid = match (&status, peer.pid) {
        (Some(status), 0) => status.list.primary.pid,
        (_, pid) => pid,
    };
    Some(Running { pid, user: peer.user, control: Some(path.to_owned()), status, port })
}
