//! The listening sockets of the cluster, all of them had before anything is started: bound
//! here, or passed by whoever started the program.

mod clients;
mod passed;

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;

use anyhow::Context;
use shared_process::unix_socket::Ownership;
use shared_protocol::Handover;
use shared_settings::definitions::ADMIN;
use shared_settings::{Admin, describe_bind_error};
use tracing::warn;

use balancer_admin::control::{ControlSocket, Places};
use balancer_proxy::listener::{self, Phase};

use crate::activation::{Activation, Socket};
use crate::config::Config;
use crate::control;
pub(crate) use clients::{Clients, ListenerParts};
pub(crate) use passed::ByPurpose;

#[derive(Debug)]
pub(crate) struct Sockets {
    /// At least one.
    pub(crate) clients: Clients,
    pub(crate) admin: Option<TcpListener>,
    pub(crate) admin_address: Option<SocketAddr>,
    pub(crate) control: ControlSocket,
    pub(crate) control_places: Places,
}

impl Sockets {
    /// Uses what was passed, and binds what else there is to be.
    ///
    /// # Errors
    /// When a socket that was passed is not fit for its purpose, or another cannot be bound.
    pub(crate) fn open(
        config: &Config,
        activation: Activation,
        handover: Option<&Handover>,
        parts: &ListenerParts,
    ) -> anyhow::Result<Self> {
        if let Some(handover) = handover {
            return Self::succeed(config, activation, handover, parts);
        }
        let ignored = activation.ignored.clone();
        let ByPurpose { clients, admin, control } = ByPurpose::sort(activation)?;
        let mut without_effect = Vec::new();
        if config.is_direct() && !clients.is_empty() {
            anyhow::bail!(
                "sockets for clients were passed (LISTEN_FDS), and with --dispatch direct each worker needs one of \
                 its own: leave one out, for example --dispatch relay"
            );
        }

        let clients = if clients.is_empty() {
            Clients::bind(config, parts).map_err(|err| match &ignored {
                Some(why) => anyhow::Error::msg(format!("{err}; {why}")),
                None => err,
            })?
        } else {
            Clients::inherit(clients, config, parts)?
        };
        let port = clients.addresses().first().map(SocketAddr::port);
        if clients.are_inherited {
            without_effect.extend(config.chosen.without_effect_on_clients(&clients.addresses()));
            without_effect.extend(clients.not_passed(config));
        }

        let is_admin_passed = admin.is_some();
        let admin = match admin {
            Some((label, socket)) => {
                socket.set_nonblocking(true).with_context(|| format!("{label} cannot be used"))?;
                Some(socket)
            }
            None => bind_for_admin(match port {
                Some(port) => admin_place(config, port, clients.are_inherited),
                None => config.admin,
            })?,
        };
        let admin_address = admin.as_ref().and_then(|admin| admin.local_addr().ok());
        if let Some(address) = admin_address.filter(|_| is_admin_passed) {
            without_effect.extend(config.chosen.without_effect_on_admin(address));
        }

        let (control, control_places) = match control {
            Some((label, socket)) => {
                let control =
                    ControlSocket::inherit(socket).with_context(|| format!("{label} cannot be used"))?;
                without_effect.extend(config.chosen.without_effect_on_control(&control.path));
                let places = Places::chosen(control.path.clone());
                (control, places)
            }
            None => {
                let places = control::places(config.control.as_deref(), &clients.name(config));
                (ControlSocket::bind(&places)?, places)
            }
        };
        if !without_effect.is_empty() {
            let choices = without_effect.join(", ");
            warn!("the sockets that were passed are used, and this has no effect: {choices}");
        }
        Ok(Self { clients, admin, admin_address, control, control_places })
    }

    /// Takes over those of a predecessor that are where this configuration has them too, and
    /// binds what else there is to be.
    fn succeed(
        config: &Config,
        activation: Activation,
        handover: &Handover,
        parts: &ListenerParts,
    ) -> anyhow::Result<Self> {
        let ByPurpose { clients, admin, control } = ByPurpose::sort(activation)?;
        let clients = if handover.are_inherited {
            Clients::inherit(clients, config, parts)?
        } else {
            Clients::succeed(clients, handover, config, parts)?
        };
        let port = clients.addresses().first().map(SocketAddr::port);
        let wanted = match port {
            Some(port) => admin_place(config, port, clients.are_inherited),
            None => config.admin,
        };
        let admin = admin.map(|(_, socket)| socket).filter(|socket| {
            let address = socket.local_addr().ok();
            let same = |wanted: SocketAddr| {
                address.is_some_and(|address| {
                    wanted == address || (wanted.port() == 0 && wanted.ip() == address.ip())
                })
            };
            wanted.is_some_and(same)
        });
        let admin = match admin {
            Some(socket) => {
                socket.set_nonblocking(true).context("could not take over the admin listener")?;
                Some(socket)
            }
            None => bind_for_admin(wanted)?,
        };
        let admin_address = admin.as_ref().and_then(|admin| admin.local_addr().ok());
        let chosen = config.control.as_deref().map(|path| std::fs::canonicalize(path).ok());
        let passed = control.map(|(_, socket)| socket).filter(|socket| {
            let path = socket.local_addr().ok().and_then(|address| address.as_pathname().map(PathBuf::from));
            chosen.as_ref().is_none_or(|chosen| *chosen == path)
        });
        // One whose file has just gone is made anew.
        let taken =
            passed.and_then(|socket| ControlSocket::succeed(socket, handover.owns_control_directory).ok());
        let (control, control_places) = match taken {
            Some(control) => {
                let places = Places::chosen(control.path.clone());
                (control, places)
            }
            None => {
                let places = control::places(config.control.as_deref(), &clients.name(config));
                (ControlSocket::bind(&places)?, places)
            }
        };
        Ok(Self { clients, admin, admin_address, control, control_places })
    }

    /// Of the files of sockets: their paths, and what decides whether they are removed at the end.
    pub(crate) fn files(&self) -> Vec<(String, Ownership)> {
        let clients = self.clients.files.iter().map(|file| (file.path(), file.ownership()));
        let all = clients.chain([(self.control.path.as_path(), self.control.ownership())]);
        all.map(|(path, ownership)| (path.to_string_lossy().into_owned(), ownership)).collect()
    }

    /// How the listeners for clients close when the cluster ends.
    pub(crate) fn closing(&self) -> Phase {
        if self.clients.are_inherited { Phase::Leaving } else { Phase::Closing }
    }

    /// For the log: where clients connect.
    pub(crate) fn described(&self) -> String {
        let inherited = if self.clients.are_inherited { " (inherited)" } else { "" };
        format!("{}{inherited}", self.clients.urls().join(", "))
    }
}

/// Beside the port that clients really use, if nobody has chosen another place. A chosen port
/// 0 stands for any port, also here.
pub(crate) fn admin_place(config: &Config, port: u16, is_inherited: bool) -> Option<SocketAddr> {
    if is_inherited && !config.chosen.has_admin() && config.listen().port() != 0 {
        return Admin::address(None, port);
    }
    config.admin
}

fn bind_for_admin(address: Option<SocketAddr>) -> anyhow::Result<Option<TcpListener>> {
    let bind = |address| {
        listener::bind(address).map_err(|err| anyhow::Error::msg(describe_bind_error(address, &err)))
    };
    address
        .map(bind)
        .transpose()
        .with_context(|| format!("no admin listener (set {} to another address, or to off)", ADMIN.names()))
}

/// Where a socket that was passed for clients listens, if the system tells.
pub(crate) fn place(socket: &Socket) -> Option<String> {
    clients::place(socket).ok().map(|place| place.to_string())
}
