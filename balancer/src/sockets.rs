//! The listening sockets of the cluster, all of them had before anything is started: bound
//! here, or passed by whoever started the program.

mod passed;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use anyhow::Context;
use shared_settings::definitions::ADMIN;
use shared_settings::{Admin, describe_bind_error};
use tracing::warn;

use balancer_admin::control::{ControlSocket, Places};
use balancer_proxy::listener::{self, Listener, ListenerOptions, Phase};
use balancer_tls::Tls;

use crate::activation::Activation;
use crate::config::Config;
use crate::control;
pub(crate) use passed::ByPurpose;

#[derive(Debug)]
pub(crate) struct Sockets {
    /// At least one.
    pub(crate) clients: Vec<Listener>,
    /// Where `clients` listen.
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) admin: Option<TcpListener>,
    pub(crate) admin_address: Option<SocketAddr>,
    pub(crate) control: ControlSocket,
    pub(crate) control_places: Places,
    /// Those for clients were passed.
    pub(crate) are_inherited: bool,
    pub(crate) speaks_tls: bool,
}

impl Sockets {
    /// Uses what was passed, and binds what else there is to be.
    ///
    /// # Errors
    /// When a socket that was passed is not fit for its purpose, or another cannot be bound.
    pub(crate) fn open(
        config: &Config,
        activation: Activation,
        tls: Option<Arc<Tls>>,
    ) -> anyhow::Result<Self> {
        let ignored = activation.ignored.clone();
        let ByPurpose { clients, admin, control } = ByPurpose::sort(activation)?;
        let mut without_effect = Vec::new();

        let are_inherited = !clients.is_empty();
        let clients = if are_inherited {
            let inherit = |(label, socket)| {
                Listener::inherit(socket).with_context(|| format!("{label} cannot be used"))
            };
            clients.into_iter().map(inherit).collect::<anyhow::Result<Vec<_>>>()?
        } else {
            vec![bind_for_clients(config.listen(), ignored)?]
        };
        let speaks_tls = tls.is_some();
        let options = || ListenerOptions { tls: tls.clone(), ..ListenerOptions::default() };
        let clients: Vec<_> = clients.into_iter().map(|listener| listener.with(options())).collect();
        let addresses = clients.iter().map(Listener::address).collect::<Result<Vec<_>, _>>();
        let addresses = addresses.context("could not read the bound address")?;
        if are_inherited {
            without_effect.extend(config.chosen.without_effect_on_clients(&addresses));
        }

        let is_admin_passed = admin.is_some();
        let admin = match admin {
            Some((label, socket)) => {
                socket.set_nonblocking(true).with_context(|| format!("{label} cannot be used"))?;
                Some(socket)
            }
            None => bind_for_admin(admin_place(config, addresses[0].port(), are_inherited))?,
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
                let places = control::places(config.control.as_deref(), addresses[0].port());
                (ControlSocket::bind(&places)?, places)
            }
        };
        if !without_effect.is_empty() {
            let choices = without_effect.join(", ");
            warn!("the sockets that were passed are used, and this has no effect: {choices}");
        }
        Ok(Self {
            clients,
            addresses,
            admin,
            admin_address,
            control,
            control_places,
            are_inherited,
            speaks_tls,
        })
    }

    /// How the listeners for clients close when the cluster ends.
    pub(crate) fn closing(&self) -> Phase {
        if self.are_inherited { Phase::Leaving } else { Phase::Closing }
    }

    /// For the log: where clients connect.
    pub(crate) fn described(&self) -> String {
        let scheme = if self.speaks_tls { "https" } else { "http" };
        let urls: Vec<_> = self.addresses.iter().map(|address| format!("{scheme}://{address}")).collect();
        let inherited = if self.are_inherited { " (inherited)" } else { "" };
        format!("{}{inherited}", urls.join(", "))
    }
}

fn bind_for_clients(address: SocketAddr, ignored: Option<String>) -> anyhow::Result<Listener> {
    Listener::bind(address).map_err(|err| {
        let text = describe_bind_error(address, &err);
        anyhow::Error::msg(ignored.map_or_else(|| text.clone(), |why| format!("{text}; {why}")))
    })
}

/// Beside the port that clients really use, if nobody has chosen another place. A chosen port
/// 0 stands for any port, also here.
fn admin_place(config: &Config, port: u16, is_inherited: bool) -> Option<SocketAddr> {
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
