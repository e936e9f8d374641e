//! What passes from a predecessor to its successor.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use shared_process::unix_socket::Ownership;
use shared_protocol::Handover;

use crate::sockets::Sockets;
use crate::state_dir::StateDir;

#[derive(Debug)]
pub(crate) struct Estate {
    pub(crate) clients: Vec<OwnedFd>,
    admin: Option<OwnedFd>,
    control: Option<OwnedFd>,
    pub(crate) handover: Handover,
    /// What is removed at the end.
    pub(crate) belongings: Belongings,
}

impl Estate {
    /// That of a cluster with `sockets` and `state`, but for the sockets of clients, which its
    /// threads have. What it has of the files of a predecessor (`left`) is its own only when it
    /// takes over.
    ///
    /// # Errors
    /// When there are too many descriptors.
    pub(crate) fn new(
        sockets: &Sockets,
        state: Option<&StateDir>,
        left: Option<&Handover>,
    ) -> io::Result<Self> {
        let files = sockets
            .files()
            .into_iter()
            .filter(|(path, file)| file.is_held() || left.is_some_and(|left| left.files.contains(path)));
        let files: Vec<_> = files.collect();
        let temporary_state = state.and_then(StateDir::temporary);
        let handover = Handover {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            are_inherited: sockets.clients.are_inherited,
            temporary_state: temporary_state.clone(),
            files: files.iter().map(|(path, _)| path.clone()).collect(),
            owns_control_directory: sockets.control.owns_directory(),
            workers: None,
            maintenance_retry_after: None,
        };
        Ok(Self {
            clients: Vec::new(),
            admin: sockets.admin.as_ref().map(|admin| admin.as_fd().try_clone_to_owned()).transpose()?,
            control: Some(sockets.control.try_clone()?),
            handover,
            belongings: Belongings { files, state: temporary_state.zip(state.and_then(StateDir::ownership)) },
        })
    }

    /// All listening sockets by the names under which they are passed.
    ///
    /// # Errors
    /// When there are too many descriptors.
    pub(super) fn sockets(&self) -> io::Result<Vec<(&'static str, OwnedFd)>> {
        let clients = self.clients.iter().map(|socket| ("http", socket));
        let all = clients
            .chain(self.admin.iter().map(|socket| ("admin", socket)))
            .chain(self.control.iter().map(|socket| ("control", socket)));
        all.map(|(name, socket)| Ok((name, socket.try_clone()?))).collect()
    }

    /// Lets go of the sockets.
    pub(super) fn close(&mut self) {
        self.clients.clear();
        self.admin = None;
        self.control = None;
    }
}

/// What is removed at the end by whoever serves then.
#[derive(Debug, Clone, Default)]
pub(crate) struct Belongings {
    /// By their paths.
    files: Vec<(String, Ownership)>,
    state: Option<(String, Arc<AtomicBool>)>,
}

impl Belongings {
    /// They are this process's from now on. Returns their paths.
    pub(crate) fn take(&self) -> Vec<String> {
        self.files.iter().for_each(|(_, file)| file.set(true));
        self.state.iter().for_each(|(_, state)| state.store(true, Ordering::Relaxed));
        let state = self.state.iter().map(|(path, _)| path);
        self.files.iter().map(|(path, _)| path).chain(state).cloned().collect()
    }

    /// A successor uses those at the paths `kept`; what it has no use for is still removed.
    pub(super) fn give_away(&self, kept: Option<&[String]>) {
        let is_kept = |path: &String| kept.is_none_or(|kept| kept.contains(path));
        self.files.iter().filter(|(path, _)| is_kept(path)).for_each(|(_, file)| file.set(false));
        let state = self.state.iter().filter(|(path, _)| is_kept(path));
        state.for_each(|(_, state)| state.store(false, Ordering::Relaxed));
    }
}
