//! Sockets that were passed, by what they are for.

use std::io;
use std::net::TcpListener;
use std::os::fd::AsFd;

use rustix::net::sockopt;

use balancer_admin::control::{ControlSocket, SocketError};
use balancer_proxy::listener::Listener;

use crate::activation::{Activation, Label, Passed, Socket};

const ADMIN: &str = "admin";
const CONTROL: &str = "control";

#[derive(Debug, Default)]
pub(super) struct ByPurpose {
    /// Those with any other name, as the name of a socket is by default that of its unit.
    pub(super) clients: Vec<Listener>,
    pub(super) admin: Option<TcpListener>,
    pub(super) control: Option<ControlSocket>,
}

/// Why a socket is not fit for its purpose.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PassedError {
    #[error("{0} does not listen: only listening sockets can be passed (Accept=no in a socket unit)")]
    NotListening(Label),
    #[error("{label} is a {is} socket, and the one for {purpose} is to be a {wanted} socket")]
    Kind { label: Label, is: &'static str, wanted: &'static str, purpose: &'static str },
    #[error("{0} is a second socket of that name, and there can be only one")]
    Second(Label),
    #[error("{label} cannot be used: {err}")]
    System { label: Label, err: io::Error },
    #[error("{label} cannot be used: {err}")]
    Control { label: Label, err: SocketError },
}

impl ByPurpose {
    /// # Errors
    /// For the first socket that is not fit for its purpose.
    pub(super) fn sort(activation: Activation) -> Result<Self, PassedError> {
        let mut sorted = Self::default();
        for Passed { label, socket } in activation.passed {
            if !listens(&socket).map_err(|err| PassedError::System { label: label.clone(), err })? {
                return Err(PassedError::NotListening(label));
            }
            match label.name.as_str() {
                ADMIN => sorted.set_admin(label, socket)?,
                CONTROL => sorted.set_control(label, socket)?,
                _ => sorted.add_clients(label, socket)?,
            }
        }
        Ok(sorted)
    }

    fn add_clients(&mut self, label: Label, socket: Socket) -> Result<(), PassedError> {
        let socket = tcp(&label, socket, "clients")?;
        let listener = Listener::inherit(socket).map_err(|err| PassedError::System { label, err })?;
        self.clients.push(listener);
        Ok(())
    }

    fn set_admin(&mut self, label: Label, socket: Socket) -> Result<(), PassedError> {
        let socket = tcp(&label, socket, "the admin listener")?;
        if let Err(err) = socket.set_nonblocking(true) {
            return Err(PassedError::System { label, err });
        }
        match self.admin.replace(socket) {
            None => Ok(()),
            Some(_) => Err(PassedError::Second(label)),
        }
    }

    fn set_control(&mut self, label: Label, socket: Socket) -> Result<(), PassedError> {
        let Socket::Unix(socket) = socket else {
            return Err(PassedError::Kind { label, is: "TCP", wanted: "Unix", purpose: "control" });
        };
        let control = match ControlSocket::inherit(socket) {
            Ok(control) => control,
            Err(err) => return Err(PassedError::Control { label, err }),
        };
        match self.control.replace(control) {
            None => Ok(()),
            Some(_) => Err(PassedError::Second(label)),
        }
    }
}

fn listens(socket: &Socket) -> io::Result<bool> {
    let socket = match socket {
        Socket::Tcp(socket) => socket.as_fd(),
        Socket::Unix(socket) => socket.as_fd(),
    };
    Ok(sockopt::socket_acceptconn(socket)?)
}

fn tcp(label: &Label, socket: Socket, purpose: &'static str) -> Result<TcpListener, PassedError> {
    match socket {
        Socket::Tcp(socket) => Ok(socket),
        Socket::Unix(_) => {
            Err(PassedError::Kind { label: label.clone(), is: "Unix", wanted: "TCP", purpose })
        }
    }
}
