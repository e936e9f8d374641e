//! Workers that accept clients' connections themselves: which sockets they inherit, and what
//! they and their primary tell each other.
//!
//! A bundled worker inherits the socket of its slot, and accepts from it when it is told to. It
//! serves its own port as well, for probes and for what the primary relays. A program inherits
//! both as systemd passes sockets (sd_listen_fds(3)): the slot's as descriptor 3, and one that
//! listens on its own port as descriptor 4. Both are non-blocking, as with `NonBlocking=true`
//! in a socket unit: the primary has the slot's as well, and whether accept(2) blocks is the
//! same for all who have a socket.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use balancer_state::registry::Registry;
use balancer_state::response;
use balancer_state::slot_sockets::SlotSockets;
use command_fds::{CommandFdExt, FdMapping};
use shared_protocol::{PrimaryMessage, WorkerId};
use tokio::sync::mpsc;

use crate::port::Port;
use crate::program::Program;

/// The first descriptor that is passed (`SD_LISTEN_FDS_START`).
const FIRST: i32 = 3;
const COUNT: &str = "LISTEN_FDS";
const NAMES: &str = "LISTEN_FDNAMES";
/// Messages that may wait for a worker. There are two for each in its life, and answers, which
/// are sent without this queue.
pub(crate) const QUEUED_MESSAGES: usize = 4;

/// What workers need that accept clients' connections themselves.
#[derive(Debug, Clone)]
pub struct Direct {
    pub sockets: Arc<SlotSockets>,
    /// Of what workers are asked and the primary knows.
    pub registry: Arc<Registry>,
}

/// How a process is told that it is to accept, or to finish.
#[derive(Debug, Clone)]
pub(crate) enum Accepts {
    /// The primary alone accepts.
    Never,
    /// It does as it is told.
    WhenTold(mpsc::Sender<PrimaryMessage>),
    /// It does from its start to SIGTERM.
    FromStart,
}

impl Direct {
    /// Where a program is to serve what the primary asks and relays.
    pub(crate) fn port(program: &Program) -> Option<io::Result<Port>> {
        matches!(program, Program::Command(_)).then(Port::listen)
    }

    /// Has `command` inherit the socket of slot `id`, and what listens on `port`.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub(crate) fn pass(
        &self,
        command: &mut std::process::Command,
        id: WorkerId,
        port: &Port,
    ) -> io::Result<()> {
        let mut sockets = vec![OwnedFd::from(self.sockets.of(id)?)];
        let mut names = "http".to_owned();
        if let Port::Passed(listener, _) = port {
            sockets.push(listener.try_clone()?.into());
            names.push_str(":private");
        }
        command.env(COUNT, sockets.len().to_string()).env(NAMES, names);
        let mappings = (FIRST..).zip(sockets);
        let mappings = mappings.map(|(child_fd, parent_fd)| FdMapping { parent_fd, child_fd });
        command.fd_mappings(mappings.collect()).map_err(io::Error::other)?;
        Ok(())
    }

    /// What the primary answers to a GET of `path`, for the worker that was asked.
    pub(crate) fn answer(&self, id: u64, path: &str) -> PrimaryMessage {
        let response = response::own(&self.registry, "GET", path);
        let (status, body) = response.map_or((404, String::new()), |response| {
            (response.status, String::from_utf8_lossy(&response.body).into_owned())
        });
        PrimaryMessage::Answer { id, status, body }
    }
}
