//! What has happened to a cluster, as `GET /events` and the dashboard tell it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::WorkerId;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    Started,
    Ready,
    /// Ended without having been asked to.
    Crashed,
    /// Started in place of one that has ended or was ended.
    Restarted,
    /// Keeps ending: its next start has to wait.
    Backoff,
    /// Misses its probes: gets no requests until it answers one.
    OutOfTurn,
    /// Gets requests again.
    InTurn,
    /// Does nothing any more: is replaced.
    Hung,
    NotReady,
    PortTaken,
    Draining,
    Stopped,
    Reload,
    Scale,
    Limit,
    Maintenance,
    Shutdown,
    /// Another balancer succeeds this one, or has failed to.
    Upgrade,
    /// One was issued by ACME, or was not.
    Certificate,
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Started => "started",
            Self::Ready => "ready",
            Self::Crashed => "crashed",
            Self::Restarted => "restarted",
            Self::Backoff => "backoff",
            Self::OutOfTurn => "out-of-turn",
            Self::InTurn => "in-turn",
            Self::Hung => "hung",
            Self::NotReady => "not-ready",
            Self::PortTaken => "port-taken",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
            Self::Reload => "reload",
            Self::Scale => "scale",
            Self::Limit => "limit",
            Self::Maintenance => "maintenance",
            Self::Shutdown => "shutdown",
            Self::Upgrade => "upgrade",
            Self::Certificate => "certificate",
        })
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Grows by one with each event of this primary.
    pub sequence: u64,
    /// Milliseconds since 1970-01-01 UTC.
    pub at_ms: u64,
    pub kind: EventKind,
    /// Whom it happened to; absent when it concerns them all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<WorkerId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// For a person to read: one line without control characters.
    pub detail: String,
}
