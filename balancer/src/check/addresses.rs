//! Addresses and the control socket: free, the running cluster's, or somebody else's.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, sockopt};
use shared_process::listener::{Listener, listeners_of};
use shared_process::unix_socket::{self, BindError};
use shared_settings::control::{Directory, directories, sockets};
use shared_settings::definitions::ADMIN;
use shared_settings::describe_bind_error;
use shared_settings::listen::Place;

use balancer_ctl::Listening;

use super::files::{can_create_in, parent};
use super::finding::Finding;
use crate::config::{ClientListener, Config, Mode};

/// The name of the process that passes sockets to services.
const SERVICE_MANAGER: &str = "systemd";

pub(super) fn clients(config: &Config) -> Vec<Finding> {
    config.listening.all.iter().map(|one| client(config, one)).collect()
}

fn client(config: &Config, one: &ClientListener) -> Finding {
    match &one.listen.place {
        Place::Tcp(at) => address(config, *at, config.listening.leaves_ipv4(*at), ""),
        Place::Unix { path, .. } => client_socket(config, one, path),
        Place::Abstract(name) => Finding::Fine(format!("unix:@{name} is looked for at the start")),
    }
}

fn client_socket(config: &Config, one: &ClientListener, path: &Path) -> Finding {
    let place = &one.listen.place;
    match unix_socket::look(path) {
        Ok(()) => match can_create_in(parent(path)) {
            Ok(()) => Finding::Fine(format!("{place} can be bound")),
            Err(err) => Finding::Obstacle(format!("could not bind {place}: {err}")),
        },
        Err(BindError::InUse(Some(peer)))
            if (listening(config)
                == Listening::Cluster { pid: peer.pid.as_raw_nonzero().get().cast_unsigned() }) =>
        {
            let pid = peer.pid.as_raw_nonzero().get().cast_unsigned();
            Finding::Warning(format!("{place} is taken by {}", this_cluster(pid)))
        }
        Err(err) => Finding::Obstacle(format!("could not listen on {place} ({}): {err}", one.origin)),
    }
}

pub(super) fn admin(config: &Config) -> Vec<Finding> {
    if config.mode == Mode::Single {
        return Vec::new();
    }
    let cure = format!(" (set {} to another address, or to off)", ADMIN.names());
    config.admin.map(|admin| address(config, admin, false, &cure)).into_iter().collect()
}

fn address(config: &Config, address: SocketAddr, ipv6_only: bool, cure: &str) -> Finding {
    let err = match bind(address, ipv6_only) {
        Ok(()) if address.port() == 0 => return Finding::Fine(format!("any free port of {}", address.ip())),
        Ok(()) => return Finding::Fine(format!("{address} can be bound")),
        Err(err) => err,
    };
    if err.kind() != io::ErrorKind::AddrInUse {
        return Finding::Obstacle(format!("{}{cure}", describe_bind_error(address, &err)));
    }
    let listeners = listeners_of(address);
    if let Listening::Cluster { pid } = listening(config)
        && listeners.iter().any(|listener| listener.pid == pid)
    {
        return Finding::Warning(format!("{address} is taken by {}", this_cluster(pid)));
    }
    let taken = describe_bind_error(address, &err);
    match listeners.first() {
        Some(Listener { pid: 1, name }) if name == SERVICE_MANAGER => Finding::Warning(format!(
            "{address} is held by {name}, which passes it to its service: start that with systemctl, or stop \
             the socket unit"
        )),
        Some(Listener { pid, name }) => {
            Finding::Obstacle(format!("{taken}; {name} has it (pid {pid}){cure}"))
        }
        None => Finding::Obstacle(format!("{taken}{cure}")),
    }
}

/// As a start binds it, but without listening, so that no client is taken and dropped.
fn bind(address: SocketAddr, ipv6_only: bool) -> io::Result<()> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if ipv6_only {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    Ok(rustix::net::bind(&socket, &address)?)
}

fn this_cluster(pid: u32) -> String {
    format!(
        "the cluster that runs here (pid {pid}): balancer reload replaces its workers; a changed setting \
         needs a restart, that is balancer stop before the start"
    )
}

/// Who listens on the control socket, chosen or in one of the default places.
fn listening(config: &Config) -> Listening {
    if let Some(path) = &config.control {
        return balancer_ctl::listening(path);
    }
    let sockets = sockets(Some(&config.listening.listeners.name(None))).into_iter();
    let mut found = sockets.map(|path| balancer_ctl::listening(&path));
    found.find(|listening| *listening != Listening::Nothing).unwrap_or(Listening::Nothing)
}

pub(super) fn control(config: &Config) -> Vec<Finding> {
    if config.mode == Mode::Single {
        return Vec::new();
    }
    vec![match &config.control {
        Some(path) => chosen_control(path),
        None => usual_control(config),
    }]
}

fn chosen_control(path: &Path) -> Finding {
    let shown = path.display();
    match balancer_ctl::listening(path) {
        Listening::Cluster { pid } => Finding::Warning(format!("{shown} is taken by {}", this_cluster(pid))),
        Listening::Stranger => Finding::Obstacle(format!("something else listens on {shown}")),
        Listening::Nothing => match std::fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                Finding::Obstacle(format!("{shown} is a file that is no socket"))
            }
            _ => match can_create_in(parent(path)) {
                Ok(()) => Finding::Fine(format!("{shown} can be bound")),
                Err(err) => Finding::Obstacle(format!("could not bind {shown}: {err}")),
            },
        },
    }
}

/// A start takes the first of the default places that will do.
fn usual_control(config: &Config) -> Finding {
    if config.listening.listeners.name(None).port() != Some(0)
        && let Listening::Cluster { pid } = listening(config)
    {
        return Finding::Warning(format!("the control socket is that of {}", this_cluster(pid)));
    }
    let fits = |directory: &Directory| match directory {
        Directory::Existing(path) | Directory::Below(path) => can_create_in(path).is_ok(),
    };
    match directories().into_iter().find(fits) {
        Some(Directory::Existing(path) | Directory::Below(path)) => {
            Finding::Fine(format!("the control socket has a place in {}", path.display()))
        }
        None => {
            Finding::Obstacle("no default place for the control socket will do (set --control)".to_owned())
        }
    }
}
