//! Why a process is not ready: facts go in, words for people come out.

mod lines;
#[cfg(test)]
mod tests;

use std::fmt::{self, Display, Formatter};
use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use shared_process::sockets::{Listener, Named, covers};

use crate::look::Look;
use crate::probe::{Check, Finding};

pub use lines::last_words;
pub(crate) use lines::{last_lines, says, says_in_use, says_port_in_use};

/// Addresses that are named; a program may listen on many.
const NAMED: usize = 4;

/// What is known of a process that is not ready.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts<'a> {
    /// Where it is to listen, once that is known.
    pub(crate) asked: Option<SocketAddr>,
    pub(crate) check: &'a Check,
    pub(crate) look: Option<&'a Look>,
    /// What its last probe found.
    pub(crate) finding: Option<&'a Finding>,
}

/// Why a process is not ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cause {
    /// It listens, but not where it is to.
    Elsewhere {
        listens: Vec<SocketAddr>,
        asked: SocketAddr,
    },
    /// It listens on Unix sockets only.
    Unix {
        listens: Vec<String>,
        asked: SocketAddr,
    },
    /// Somebody else listens where it is to.
    PortHeld {
        asked: SocketAddr,
        holder: Named,
    },
    /// It listens and does not accept connections.
    NotAccepting {
        at: SocketAddr,
    },
    /// It accepts connections and does not answer.
    NotAnswering {
        at: SocketAddr,
        check: Check,
        within: Duration,
    },
    /// It has begun to listen only now.
    JustListens {
        at: SocketAddr,
    },
    Status {
        check: Check,
        status: u16,
    },
    NotHttp {
        at: SocketAddr,
    },
    Closes {
        at: SocketAddr,
        check: Check,
    },
    /// It waits for an answer from there, and listens on nothing yet.
    Connecting {
        to: Vec<SocketAddr>,
        is_busy: bool,
    },
    Nothing {
        is_busy: bool,
    },
    /// It runs as somebody else, so that nothing can be seen.
    Hidden {
        asked: SocketAddr,
    },
    Other(String),
}

impl Cause {
    /// What the facts come to; `None` while they say nothing.
    pub(crate) fn of(facts: Facts<'_>) -> Option<Self> {
        let Some(asked) = facts.asked else {
            return facts.look.map(|look| Self::Nothing { is_busy: look.is_busy });
        };
        let Some(look) = facts.look else {
            return facts.finding.map(|finding| facts.answered(asked, finding));
        };
        let sockets = &look.sockets;
        if let Some(listener) = sockets.tcp.iter().find(|listener| is_reached(listener, asked)) {
            return Some(match facts.finding {
                None | Some(Finding::Refused) => Self::JustListens { at: listener.address },
                Some(Finding::Silent(_)) if listener.waiting > 0 => {
                    Self::NotAccepting { at: listener.address }
                }
                Some(finding) => facts.answered(listener.address, finding),
            });
        }
        if let Some(holder) = look.holder.clone() {
            return Some(Self::PortHeld { asked, holder });
        }
        let listens: Vec<_> = sockets.tcp.iter().map(|listener| listener.address).collect();
        let is_answer = |finding: &&Finding| !matches!(finding, Finding::Refused | Finding::Other(_));
        Some(if !listens.is_empty() {
            Self::Elsewhere { listens, asked }
        } else if !sockets.unix.is_empty() {
            Self::Unix { listens: sockets.unix.clone(), asked }
        } else if let Some(finding) = facts.finding.filter(is_answer) {
            facts.answered(asked, finding)
        } else if sockets.is_hidden {
            Self::Hidden { asked }
        } else if !sockets.connecting.is_empty() {
            Self::Connecting { to: sockets.connecting.clone(), is_busy: look.is_busy }
        } else {
            Self::Nothing { is_busy: look.is_busy }
        })
    }

    /// The same for both of two looks between which nothing has changed that a person would
    /// want to hear of.
    pub(crate) fn topic(&self) -> Self {
        match self {
            Self::Nothing { .. } | Self::Connecting { .. } => Self::Nothing { is_busy: false },
            // One follows the other while a program gets through its backlog.
            Self::JustListens { at } | Self::NotAccepting { at } | Self::NotAnswering { at, .. } => {
                Self::NotAccepting { at: *at }
            }
            other => other.clone(),
        }
    }
}

impl Facts<'_> {
    fn answered(&self, at: SocketAddr, finding: &Finding) -> Cause {
        let check = self.check.clone();
        match finding {
            Finding::Silent(within) => Cause::NotAnswering { at, check, within: *within },
            Finding::Status(status) => Cause::Status { check, status: *status },
            Finding::NotHttp => Cause::NotHttp { at },
            Finding::Closed => Cause::Closes { at, check },
            Finding::Refused => Cause::Other(format!("nobody listens on {at}")),
            Finding::Other(why) => Cause::Other(why.clone()),
        }
    }
}

/// Do probes of a process that is to listen on `asked` arrive at this socket?
fn is_reached(listener: &Listener, asked: SocketAddr) -> bool {
    let also = SocketAddr::from((Ipv6Addr::LOCALHOST, asked.port()));
    covers(listener.address, asked) || covers(listener.address, also)
}

impl Display for Cause {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Elsewhere { listens, asked } => {
                let on = list(listens);
                write!(f, "listens on {on}, not on $HOST:$PORT {asked}")?;
                if listens.iter().any(|listens| listens.port() == asked.port()) {
                    f.write_str(": the port is right, the address is not (Next.js goes by $HOSTNAME)")?;
                }
                Ok(())
            }
            Self::Unix { listens, asked } => {
                write!(f, "listens on the Unix socket {}, not on $HOST:$PORT {asked}", list(listens))
            }
            Self::PortHeld { asked, holder } => {
                write!(
                    f,
                    "its $HOST:$PORT {asked} is held by another program: {} {}",
                    holder.pid, holder.name
                )
            }
            Self::NotAccepting { at } => write!(f, "listens on {at}, but accepts no connections"),
            Self::NotAnswering { at, check, within } => {
                let request = request(check);
                write!(
                    f,
                    "accepts connections on {at}, but has not answered {request} within {within:?} \
                    (--health-timeout)"
                )
            }
            Self::JustListens { at } => write!(f, "listens on {at}, and has yet to answer"),
            Self::Status { check, status } => {
                let request = request(check);
                write!(
                    f,
                    "answers {request} with {status}: --health-path names another path, \
                    --health-status the statuses that count as healthy"
                )
            }
            Self::NotHttp { at } => {
                write!(
                    f,
                    "does not speak HTTP on {at}: for another protocol, --health-path tcp asks for a \
                    connection only; TLS is not spoken with workers"
                )
            }
            Self::Closes { at, check } => {
                let request = request(check);
                write!(
                    f,
                    "closes connections on {at} without an answer to {request}: does it speak HTTP, \
                    without TLS? (--health-path tcp asks for a connection only)"
                )
            }
            Self::Connecting { to, .. } => {
                write!(f, "listens on nothing yet: waits for a connection to {}", list(to))
            }
            Self::Nothing { is_busy: true } => {
                f.write_str("listens on nothing yet, and uses the processor: still busy")
            }
            Self::Nothing { is_busy: false } => f.write_str("listens on nothing yet, and sleeps"),
            Self::Hidden { asked } => {
                write!(
                    f,
                    "does not answer on $HOST:$PORT {asked}; it runs as another user, \
                    so that what it listens on cannot be seen"
                )
            }
            Self::Other(why) => f.write_str(why),
        }
    }
}

fn request(check: &Check) -> String {
    match check {
        Check::Http(path) => format!("GET {path}"),
        Check::Tcp => "a probe".to_owned(),
    }
}

fn list<T: Display>(all: &[T]) -> String {
    let mut text = all.iter().take(NAMED).map(T::to_string).collect::<Vec<_>>().join(" and ");
    if all.len() > NAMED {
        text.push_str(" and others");
    }
    text
}

/// What it means that a program has ended before it was ready. `left` is a process that it
/// has left running, `has_listened` that it was seen to listen.
pub(crate) fn ended(how: &str, code: Option<i32>, left: Option<(u32, &str)>, has_listened: bool) -> String {
    match (code, left) {
        (Some(0), Some((pid, name))) => format!(
            "went into the background: the command has ended with code 0 and left {pid} {name} running; \
             have it stay in the foreground"
        ),
        (Some(0), None) if !has_listened => {
            "ended with code 0 before it listened: is it a server? (its standard input is /dev/null)"
                .to_owned()
        }
        (Some(0), None) => "ended with code 0 before it was ready".to_owned(),
        _ => format!("ended before it was ready: {how}"),
    }
}
