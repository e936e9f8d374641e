//! Sockets that were passed: what a start would make of them. Nothing is done to them.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;

use super::finding::Finding;
use crate::SINGLE_WITH_SOCKETS;
use crate::activation::{Activation, ActivationError, Label, Socket};
use crate::config::{Config, Mode};
use crate::sockets::{self, ByPurpose};

// Names of the looks that are spared when a socket has been passed.
pub(super) const CLIENTS: &str = "clients";
pub(super) const ADMIN_LISTENER: &str = "admin listener";
pub(super) const CONTROL_SOCKET: &str = "control socket";

pub(super) struct Passed {
    /// What a start would be told as well.
    result: anyhow::Result<ByPurpose>,
    ignored: Option<String>,
}

impl Passed {
    pub(super) fn look(activation: Result<Activation, ActivationError>) -> Self {
        let mut ignored = None;
        let result = activation.map_err(Into::into).and_then(|mut activation| {
            ignored = activation.ignored.take();
            Ok(ByPurpose::sort(activation)?)
        });
        Self { result, ignored }
    }

    /// Has `config` name the places that would be used.
    pub(super) fn apply(&self, config: &mut Config) {
        let tcp = self.clients().iter().find_map(|(_, socket)| match socket {
            Socket::Tcp(socket) => socket.local_addr().ok(),
            Socket::Unix(_) => None,
        });
        let Some(address) = tcp else { return };
        config.admin = sockets::admin_place(config, address.port(), true);
        (config.worker.host, config.worker.port) = (address.ip(), address.port());
    }

    /// Has a socket been passed for what a look with this name looks at?
    pub(super) fn stands_for(&self, what: &str) -> bool {
        let Ok(passed) = &self.result else { return false };
        match what {
            CLIENTS => !passed.clients.is_empty(),
            ADMIN_LISTENER => passed.admin.is_some(),
            CONTROL_SOCKET => passed.control.is_some(),
            _ => false,
        }
    }

    pub(super) fn findings(&self, mode: Mode) -> Vec<Finding> {
        let passed = match &self.result {
            Ok(passed) => passed,
            Err(err) => return vec![Finding::Obstacle(format!("passed sockets: {err}"))],
        };
        if mode == Mode::Single && !passed.is_empty() {
            return vec![Finding::Obstacle(SINGLE_WITH_SOCKETS.to_owned())];
        }
        let ignored = self.ignored.iter().map(|why| Finding::Warning(format!("passed sockets: {why}")));
        let tcp = |(label, socket): &(Label, TcpListener)| {
            fine(ADMIN_LISTENER, label, socket.local_addr().ok().as_ref().map(SocketAddr::to_string))
        };
        let unix = |(label, socket): &(Label, UnixListener)| {
            let address = socket.local_addr().ok();
            let path = address.as_ref().and_then(|address| address.as_pathname());
            fine(CONTROL_SOCKET, label, path.map(|path| path.display().to_string()))
        };
        ignored
            .chain(passed.clients.iter().map(|(label, socket)| fine(CLIENTS, label, sockets::place(socket))))
            .chain(passed.admin.iter().map(tcp))
            .chain(passed.control.iter().map(unix))
            .collect()
    }

    fn clients(&self) -> &[(Label, Socket)] {
        self.result.as_ref().map_or(&[], |passed| &passed.clients)
    }
}

fn fine(what: &str, label: &Label, place: Option<String>) -> Finding {
    Finding::Fine(format!("{what}: {} was passed as {label}", place.unwrap_or_default()))
}
