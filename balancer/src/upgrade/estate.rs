//! What passes from a predecessor to its successor.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use balancer_admin::control::SocketInUse;
use balancer_state::registry::Registry;
use balancer_tls::Tls;
use shared_process::unix_socket::{FileMark, Ownership, SocketFile};
use shared_protocol::{Handover, Secret};

use crate::sockets::Sockets;
use crate::state_dir::StateDir;

/// What it is of a cluster, beside its sockets and its state.
#[derive(Debug)]
pub(crate) struct Legacy {
    /// How many workers the configuration asks for; none where the load chooses the number.
    pub(crate) configured_workers: Option<usize>,
    /// If clients speak TLS.
    pub(crate) tls: Option<Arc<Tls>>,
    /// What sticky cookies are signed with, where nobody has chosen a secret.
    pub(crate) sticky_secret: Option<Secret>,
}

#[derive(Debug)]
pub(crate) struct Estate {
    pub(crate) clients: Vec<OwnedFd>,
    /// Files of those of clients.
    files: Vec<FileMark>,
    admin: Option<OwnedFd>,
    control: Option<SocketInUse>,
    tls: Option<Arc<Tls>>,
    handover: Handover,
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
        legacy: Legacy,
    ) -> io::Result<Self> {
        let Legacy { configured_workers, tls, sticky_secret } = legacy;
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
            stderr_pipe: None,
            workers: None,
            configured_workers,
            sticky_secret,
            tickets: None,
            maintenance_retry_after: None,
        };
        Ok(Self {
            clients: Vec::new(),
            files: sockets.clients.files.iter().map(SocketFile::mark).collect(),
            admin: sockets.admin.as_ref().map(|admin| admin.as_fd().try_clone_to_owned()).transpose()?,
            control: Some(sockets.control.in_use()?),
            tls,
            handover,
            belongings: Belongings { files, state: temporary_state.zip(state.and_then(StateDir::ownership)) },
        })
    }

    /// All listening sockets by the names under which they are passed, but for those that
    /// nobody finds any more, as their files are gone: a successor makes them anew.
    ///
    /// # Errors
    /// When there are too many descriptors.
    pub(super) fn sockets(&self) -> io::Result<Vec<(&'static str, OwnedFd)>> {
        let mut sockets = Vec::new();
        for socket in &self.clients {
            let socket = socket.try_clone()?;
            if !self.is_lost(&socket)? {
                sockets.push(("http", socket));
            }
        }
        if let Some(admin) = &self.admin {
            sockets.push(("admin", admin.try_clone()?));
        }
        let control = self.control.as_ref().map(SocketInUse::try_clone).transpose()?.flatten();
        sockets.extend(control.map(|control| ("control", control)));
        Ok(sockets)
    }

    /// Is the file gone by which clients would find `socket`?
    fn is_lost(&self, socket: &OwnedFd) -> io::Result<bool> {
        // What is said of its kind only matters where there are files.
        if self.files.iter().all(FileMark::is_there) {
            return Ok(false);
        }
        let address = UnixListener::from(socket.try_clone()?).local_addr();
        let path = address.as_ref().ok().and_then(|address| address.as_pathname());
        Ok(self.files.iter().any(|file| Some(file.path()) == path && !file.is_there()))
    }

    /// What a successor is told, as things are now.
    pub(super) fn handover(&self, registry: &Registry) -> Handover {
        Handover {
            workers: Some(registry.health().workers.desired),
            maintenance_retry_after: registry.maintenance.retry_after(),
            tickets: self.tls.as_deref().map(Tls::tickets),
            ..self.handover.clone()
        }
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
