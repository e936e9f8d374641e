//! What operators use: the control socket and the admin listener.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use tokio::sync::{mpsc, watch};
use tracing::warn;

use balancer_admin::Admin;
use balancer_admin::control::{Control, ControlSocket, Places, UpgradeRequest};
use balancer_admin::feed::{About, Feed};
use balancer_proxy::listener::Phase;
use balancer_state::ClusterState;
use balancer_supervisor::Handle;
use balancer_supervisor::process::Program;

use crate::config::Config;

/// What it takes to serve them.
pub(crate) struct Operators<'a> {
    pub(crate) config: &'a Config,
    pub(crate) state: &'a ClusterState,
    pub(crate) supervisor: &'a Handle,
    pub(crate) upgrades: mpsc::Sender<UpgradeRequest>,
    pub(crate) turn: Turn,
    pub(crate) address: String,
    pub(crate) listeners: Vec<String>,
}

impl Operators<'_> {
    /// Serves in tasks of their own.
    ///
    /// # Errors
    /// When the event loop does not take the admin listener.
    pub(crate) fn serve(
        &self,
        socket: ControlSocket,
        places: Places,
        admin: Option<TcpListener>,
        admin_address: Option<SocketAddr>,
    ) -> anyhow::Result<()> {
        let started = Instant::now();
        let bundled = matches!(self.config.program, Program::Bundled);
        let feed = Feed::new(About { address: self.address.clone(), bundled, started });
        tokio::spawn(feed.clone().run(self.state.clone()));
        let control = Control {
            state: self.state.clone(),
            samples: Arc::clone(&feed.samples),
            supervisor: self.supervisor.clone(),
            upgrades: self.upgrades.clone(),
            address: self.address.clone(),
            listeners: self.listeners.clone(),
            admin: admin_address.map(|address| address.to_string()),
            started,
        };
        if let Some(exposure) = socket.exposure() {
            warn!(control = %socket.path.display(), "the control socket is not safe: {exposure}");
        }
        // The socket's file is removed with the task, when the event loop ends.
        tokio::spawn(self.turn.clone().run(async move {
            if let Err(err) = serve_control(control, socket, &places).await {
                warn!(%err, "the control socket does not work");
            }
        }));
        if let Some(admin) = admin {
            let listener =
                tokio::net::TcpListener::from_std(admin).context("could not serve the admin listener")?;
            let names = self.config.admin_hosts.clone().into();
            let admin = Admin { state: self.state.clone(), feed, names };
            tokio::spawn(self.turn.clone().run(balancer_admin::serve(listener, admin)));
        }
        Ok(())
    }
}

async fn serve_control(control: Control, socket: ControlSocket, places: &Places) -> io::Result<()> {
    socket.claim()?;
    control.serve(socket, places).await
}

/// The time in which a cluster serves operators: from when it takes over from another one, if it
/// does, until another one has taken over.
#[derive(Debug, Clone)]
pub(crate) struct Turn {
    pub(crate) phase: watch::Receiver<Phase>,
    pub(crate) left: watch::Receiver<bool>,
}

impl Turn {
    /// Connections that are open at its end go on.
    pub(crate) async fn run(mut self, serve: impl Future<Output = ()>) {
        // Errors mean that the program ends.
        let _ = self.phase.wait_for(|phase| *phase != Phase::Pending).await;
        tokio::select! {
            () = serve => {}
            _ = self.left.wait_for(|left| *left) => {}
        }
    }
}
