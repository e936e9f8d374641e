//! What is noticed about workers beside what the fleet decides on.

use std::fmt::{self, Display, Formatter};
use std::net::SocketAddr;

use balancer_fleet::ScaleStep;
use balancer_state::registry::Reason;
use shared_protocol::{EventKind, WorkerId};
use tracing::{info, warn};

use super::scale;

/// Something that people should know.
#[derive(Debug)]
pub(crate) enum Notice<'a> {
    /// A worker takes its time to get ready, or another reason for it was found.
    NotReady { worker: WorkerId, pid: Option<u32>, reason: &'a Reason },
    /// A program listens on an address beyond loopback.
    Exposed(SocketAddr),
    /// Programs answer the health path with 404, which counts as alive.
    PathNotFound(&'a str),
    /// The only worker that serves is replaced one by one.
    Gap,
    /// New workers answer their probes with a status of a worse class than the old ones.
    Worse { path: &'a str, new: u16, old: u16 },
    /// The load asks for more workers, and there is no memory for another one.
    StepHeld { workers: usize, step: ScaleStep },
}

impl Notice<'_> {
    pub(super) fn log(&self) {
        match self {
            Self::NotReady { worker, pid, reason } => {
                warn!(%worker, pid, lastLines = joined(reason).map(tracing::field::display), "{}", reason.text);
            }
            Self::PathNotFound(_) => info!("{self}"),
            Self::Exposed(_) | Self::Worse { .. } | Self::Gap | Self::StepHeld { .. } => warn!("{self}"),
        }
    }

    /// As an event, if it is worth one: kind, worker, pid and text.
    pub(super) fn event(&self) -> Option<(EventKind, Option<WorkerId>, Option<u32>, String)> {
        match self {
            Self::NotReady { worker, pid, reason } => {
                Some((EventKind::NotReady, Some(*worker), *pid, with_last_lines(reason)))
            }
            Self::Worse { .. } => Some((EventKind::Reload, None, None, self.to_string())),
            Self::StepHeld { .. } => Some((EventKind::Scale, None, None, self.to_string())),
            Self::Exposed(_) | Self::PathNotFound(_) | Self::Gap => None,
        }
    }
}

impl Display for Notice<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotReady { worker, reason, .. } => write!(f, "worker {worker}: {}", reason.text),
            Self::Exposed(bound) => {
                let what =
                    if bound.ip().is_unspecified() { "all addresses" } else { "an address beyond loopback" };
                write!(
                    f,
                    "worker programs listen on {what} ({bound}): others on the network reach them past \
                    the balancer; have the program listen on $HOST"
                )
            }
            Self::PathNotFound(path) => {
                write!(
                    f,
                    "GET {path} is answered with 404 by the workers: that counts as alive; \
                    --health-path names another"
                )
            }
            Self::Gap => f.write_str(
                "no other worker serves while this one is replaced: requests wait for its successor, up to 5 s",
            ),
            Self::Worse { path, new, old } => {
                write!(f, "the new workers answer {path} with {new}, the old ones with {old}")
            }
            Self::StepHeld { workers, step } => f.write_str(&scale::held(*workers, step)),
        }
    }
}

/// What a worker has printed last, in one line, if it has printed anything.
pub(super) fn joined(reason: &Reason) -> Option<String> {
    (!reason.last_lines.is_empty()).then(|| reason.last_lines.join(" | "))
}

/// As [`joined`], behind the reason itself.
pub(super) fn with_last_lines(reason: &Reason) -> String {
    match joined(reason) {
        Some(lines) => format!("{}; it printed last: {lines}", reason.text),
        None => reason.text.clone(),
    }
}
