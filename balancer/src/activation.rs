//! Sockets that were opened before the program started and are passed to it, as systemd does
//! for a service with a socket unit (sd_listen_fds(3)).
//!
//! They are taken before the program opens anything itself: a descriptor that was announced
//! and is not there must not be mistaken for one of the program's own.

use std::env;
use std::fmt;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use listenfd::ListenFd;
use rustix::net::sockopt;

use crate::upgrade;

const PID: &str = "LISTEN_PID";
const COUNT: &str = "LISTEN_FDS";
const NAMES: &str = "LISTEN_FDNAMES";
/// An extension of some tools, with which any descriptor could be claimed.
const FIRST: &str = "LISTEN_FDS_FIRST_FD";

/// Variables of the protocol; they are meant for this process alone.
pub(crate) const VARIABLES: [&str; 4] = [PID, COUNT, NAMES, "LISTEN_PIDFDID"];

/// The first descriptor that is passed (`SD_LISTEN_FDS_START`).
const START: i32 = 3;
/// More sockets than anybody has a use for.
const MOST: usize = 256;

/// What was passed.
#[derive(Debug, Default)]
pub(crate) struct Activation {
    pub(crate) passed: Vec<Passed>,
    /// Why sockets that were announced are not for this process.
    pub(crate) ignored: Option<String>,
}

/// A socket, and what whoever passed it says of it.
#[derive(Debug)]
pub(crate) struct Passed {
    pub(crate) label: Label,
    pub(crate) socket: Socket,
}

/// By which an operator knows a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Label {
    pub(crate) descriptor: i32,
    /// Empty or `unknown` when it has none; systemd's default is the socket unit's name.
    pub(crate) name: String,
}

/// Neither needs to listen.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "descriptor {} (\"{}\")", self.descriptor, self.name)
    }
}

/// Why what was passed cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ActivationError {
    #[error("{COUNT} is \"{0}\", not a number of sockets from 0 to {MOST} (for example 1)")]
    Count(String),
    #[error(
        "{NAMES} has {names} names (\"{text}\") for the {count} sockets of {COUNT}: give one for each, \
         with colons between them (for example http:admin)"
    )]
    Names { text: String, names: usize, count: usize },
    #[error("{FIRST} is not supported: sockets are passed from descriptor {START} on (unset it)")]
    First,
    #[error("{0} is not open, though {COUNT} says that it is passed")]
    NotOpen(Label),
    #[error("{label} is {what}: only stream sockets are served (ListenStream= in a socket unit)")]
    NoStream { label: Label, what: String },
}

impl Activation {
    /// Takes what was passed, once. The descriptors are not inherited by other programs
    /// from then on. To be called before anything else is opened.
    ///
    /// # Errors
    /// When what was announced is not there or of no use.
    pub(crate) fn take() -> Result<Self, ActivationError> {
        let variable = |name| env::var_os(name).map(|value| value.to_string_lossy().into_owned());
        let names = match announced(variable(PID), variable(COUNT), variable(NAMES), std::process::id())? {
            Announced::Nothing => return Ok(Self::default()),
            Announced::Ignored(why) => return Ok(Self { ignored: Some(why), ..Self::default() }),
            Announced::Sockets(names) => names,
        };
        if env::var_os(FIRST).is_some() {
            return Err(ActivationError::First);
        }
        let labels = (START..).zip(names).map(|(descriptor, name)| Label { descriptor, name });
        let labels: Vec<_> = labels.collect();
        // All of them before any is taken.
        if let Some(closed) = labels.iter().find(|label| !is_open(label.descriptor)) {
            return Err(ActivationError::NotOpen(closed.clone()));
        }
        let mut descriptors = ListenFd::from_env();
        let passed =
            labels.into_iter().enumerate().map(|(index, label)| take(&mut descriptors, index, label));
        Ok(Self { passed: passed.collect::<Result<_, _>>()?, ignored: None })
    }
}

impl Activation {
    /// Takes the channel to a predecessor out of what was passed, if it is there: it is named so,
    /// and does not listen.
    pub(crate) fn take_channel(&mut self) -> Option<UnixStream> {
        let is_channel = |passed: &Passed| match &passed.socket {
            Socket::Unix(socket) => {
                passed.label.name == upgrade::CHANNEL && sockopt::socket_acceptconn(socket) == Ok(false)
            }
            Socket::Tcp(_) => false,
        };
        let index = self.passed.iter().position(is_channel)?;
        match self.passed.remove(index).socket {
            Socket::Unix(socket) => Some(OwnedFd::from(socket).into()),
            Socket::Tcp(_) => None,
        }
    }
}

fn take(descriptors: &mut ListenFd, index: usize, label: Label) -> Result<Passed, ActivationError> {
    if let Ok(Some(socket)) = descriptors.take_tcp_listener(index) {
        return Ok(Passed { label, socket: Socket::Tcp(socket) });
    }
    if let Ok(Some(socket)) = descriptors.take_unix_listener(index) {
        return Ok(Passed { label, socket: Socket::Unix(socket) });
    }
    let is_udp = matches!(descriptors.take_udp_socket(index), Ok(Some(_)));
    let what = if is_udp || matches!(descriptors.take_unix_datagram(index), Ok(Some(_))) {
        "a datagram socket".to_owned()
    } else {
        match std::fs::read_link(path(label.descriptor)) {
            Ok(target) if target.to_string_lossy().starts_with("socket:") => {
                "a socket of another kind".to_owned()
            }
            Ok(target) => format!("no socket but {}", target.display()),
            Err(_) => "no socket".to_owned(),
        }
    };
    Err(ActivationError::NoStream { label, what })
}

fn path(descriptor: i32) -> String {
    format!("/proc/self/fd/{descriptor}")
}

fn is_open(descriptor: i32) -> bool {
    // Without a proc file system what takes it finds out.
    !Path::new("/proc/self/fd").exists() || Path::new(&path(descriptor)).symlink_metadata().is_ok()
}

#[derive(Debug, PartialEq, Eq)]
enum Announced {
    Nothing,
    /// Says why.
    Ignored(String),
    /// By their names.
    Sockets(Vec<String>),
}

/// What the variables announce to the process `own`.
fn announced(
    pid: Option<String>,
    count: Option<String>,
    names: Option<String>,
    own: u32,
) -> Result<Announced, ActivationError> {
    let Some(count) = count else { return Ok(Announced::Nothing) };
    match pid {
        Some(pid) if pid.parse() == Ok(own) => {}
        Some(pid) => {
            return Ok(Announced::Ignored(format!(
                "{COUNT} is for process {pid} ({PID}), and this is process {own}: a script in between \
                 passes sockets on by exec"
            )));
        }
        None => return Ok(Announced::Ignored(format!("{COUNT} is set, and {PID} is not"))),
    }
    let number = count.parse().ok().filter(|&number: &usize| number <= MOST);
    let number = number.ok_or(ActivationError::Count(count))?;
    let unnamed = || vec!["unknown".to_owned(); number];
    let names: Vec<_> = match (number, names) {
        (0, _) => return Ok(Announced::Nothing),
        (_, None) => unnamed(),
        (_, Some(text)) => {
            let names: Vec<_> = text.split(':').map(str::to_owned).collect();
            if names.len() != number {
                return Err(ActivationError::Names { text, names: names.len(), count: number });
            }
            names
        }
    };
    Ok(Announced::Sockets(names))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pid: &str, count: &str, names: Option<&str>) -> Result<Announced, ActivationError> {
        let text = |text: &str| (text != "-").then(|| text.to_owned());
        announced(text(pid), text(count), names.map(str::to_owned), 42)
    }

    #[test]
    fn sockets_are_taken_by_the_process_that_they_are_for() {
        let two = |one: &str, two: &str| Ok(Announced::Sockets(vec![one.to_owned(), two.to_owned()]));
        assert_eq!(of("42", "2", Some("http:admin")), two("http", "admin"));
        assert_eq!(of("42", "2", Some("http:")), two("http", ""));
        assert_eq!(of("42", "2", None), two("unknown", "unknown"));
        for (pid, count) in [("-", "-"), ("42", "-"), ("42", "0"), ("41", "-")] {
            assert_eq!(of(pid, count, None), Ok(Announced::Nothing), "{pid} {count}");
        }
        // Whatever else they say.
        for pid in ["41", "", "x", "-", "042x", "-42"] {
            assert!(matches!(of(pid, "many", Some(":::")), Ok(Announced::Ignored(_))), "{pid}");
        }
    }

    #[test]
    fn what_is_announced_wrongly_is_refused_with_the_variable_and_an_example() {
        for count in ["", "-1", "x", "1 ", "257", "99999999999999999999"] {
            let err = of("42", count, None).unwrap_err();
            assert_eq!(err, ActivationError::Count(count.to_owned()));
            assert!(err.to_string().contains(COUNT) && err.to_string().contains("example"), "{err}");
        }
        for names in ["", "http", "http:admin:control"] {
            let err = of("42", "2", Some(names)).unwrap_err();
            assert!(matches!(err, ActivationError::Names { count: 2, .. }), "{err}");
        }
    }
}
