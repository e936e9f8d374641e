//! Sockets that were passed, by what they are for.

use std::io;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;

use rustix::net::sockopt;

use crate::activation::{Activation, Label, Passed, Socket};

const ADMIN: &str = "admin";
const CONTROL: &str = "control";

/// Nothing has been done to the sockets: all of them listen.
#[derive(Debug, Default)]
pub(crate) struct ByPurpose {
    /// Those with any other name, as the name of a socket is by default that of its unit.
    pub(crate) clients: Vec<(Label, Socket)>,
    pub(crate) admin: Option<(Label, TcpListener)>,
    pub(crate) control: Option<(Label, UnixListener)>,
}

/// Why a socket is not fit for its purpose.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PassedError {
    #[error("{0} does not listen: only listening sockets can be passed (Accept=no in a socket unit)")]
    NotListening(Label),
    #[error("{label} is a {is} socket, and one for {purpose} has to be a {wanted} socket")]
    Kind { label: Label, is: &'static str, wanted: &'static str, purpose: &'static str },
    #[error("{0} is the second socket of that name, and there can be only one")]
    Second(Label),
    #[error("{label} cannot be used: {err}")]
    System { label: Label, err: io::Error },
}

impl ByPurpose {
    /// # Errors
    /// For the first socket that is not fit for its purpose.
    pub(crate) fn sort(activation: Activation) -> Result<Self, PassedError> {
        let mut sorted = Self::default();
        for Passed { label, socket } in activation.passed {
            if !listens(&socket).map_err(|err| PassedError::System { label: label.clone(), err })? {
                return Err(PassedError::NotListening(label));
            }
            match label.name.as_str() {
                ADMIN => only(&mut sorted.admin, tcp(label, socket, "the admin listener")?)?,
                CONTROL => only(&mut sorted.control, unix(label, socket)?)?,
                _ => sorted.clients.push((label, socket)),
            }
        }
        Ok(sorted)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.clients.is_empty() && self.admin.is_none() && self.control.is_none()
    }
}

fn only<T>(place: &mut Option<(Label, T)>, socket: (Label, T)) -> Result<(), PassedError> {
    match place {
        None => *place = Some(socket),
        Some(_) => return Err(PassedError::Second(socket.0)),
    }
    Ok(())
}

fn listens(socket: &Socket) -> io::Result<bool> {
    let socket = match socket {
        Socket::Tcp(socket) => socket.as_fd(),
        Socket::Unix(socket) => socket.as_fd(),
    };
    Ok(sockopt::socket_acceptconn(socket)?)
}

fn tcp(label: Label, socket: Socket, purpose: &'static str) -> Result<(Label, TcpListener), PassedError> {
    match socket {
        Socket::Tcp(socket) => Ok((label, socket)),
        Socket::Unix(_) => Err(PassedError::Kind { label, is: "Unix", wanted: "TCP", purpose }),
    }
}

fn unix(label: Label, socket: Socket) -> Result<(Label, UnixListener), PassedError> {
    match socket {
        Socket::Unix(socket) => Ok((label, socket)),
        Socket::Tcp(_) => {
            let purpose = "the control socket";
            Err(PassedError::Kind { label, is: "TCP", wanted: "Unix", purpose })
        }
    }
}
