//! The control API: what `status` reads, and what is told of a change.

use serde::{Deserialize, Serialize};

use crate::{CertificateStatus, ClusterHealth, ReleaseChanges, Sample, Turn, WorkerId, WorkerList};

/// `GET /status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    pub version: String,
    /// The first one where clients connect, as `127.0.0.1:3100` or `unix:/run/app.sock`.
    pub address: String,
    /// All of them, as URLs have them; those that redirect come last.
    #[serde(default)]
    pub listeners: Vec<String>,
    /// `null` when it is switched off.
    pub admin: Option<String>,
    /// Seconds since the primary's start.
    pub uptime_seconds: f64,
    pub health: ClusterHealth,
    /// Absent while it is not shutting down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shutdown: Option<ShutdownPhase>,
    /// Absent while there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Maintenance>,
    /// The numbers of workers that the load chooses from; absent where the number is fixed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<WorkerRange>,
    /// The last second; `null` in the first one.
    #[serde(default)]
    pub sample: Option<Sample>,
    /// The certificates that clients get, the default one first; none where they speak plain HTTP.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<CertificateStatus>,
    #[serde(flatten)]
    pub list: WorkerList,
}

/// The numbers of workers that the load chooses from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerRange {
    pub min: usize,
    pub max: usize,
}

/// How far a shutdown has come.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "phase")]
pub enum ShutdownPhase {
    /// It serves as before, and `/health` says that it will not for long.
    #[serde(rename_all = "camelCase")]
    Delay { seconds_left: f64 },
    /// It finishes what is in flight.
    Draining,
}

/// Maintenance: requests are answered 503, while the workers live and are probed. It is the
/// body of `POST /maintenance` as well, which begins it; `DELETE` ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Maintenance {
    /// When clients may try again.
    pub retry_after_seconds: u32,
}

impl Maintenance {
    /// A longer one is no maintenance: 30 days.
    pub const MAX_RETRY_AFTER_SECONDS: u32 = 30 * 24 * 60 * 60;
}

/// `POST /scale`: `{"workers":4}` for a number, `{"add":1}` and `{"add":-1}` for a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Scale {
    /// There are to be so many workers.
    Workers(u32),
    /// There are to be so many more, or fewer when it is negative, than there are at its turn.
    Add(i32),
}

/// What whoever asked for a change is told of it, in this order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "event")]
pub enum Progress {
    /// Another change is under way, and this one follows it.
    Waiting,
    /// What the new workers are started with differs from what runs, or a setting has
    /// changed that no reload takes up.
    Changes(ReleaseChanges),
    /// A new worker was started.
    Started { worker: WorkerId, pid: u32 },
    /// A new worker has answered its health probe.
    #[serde(rename_all = "camelCase")]
    Ready { worker: WorkerId, pid: u32, after_ms: u64 },
    /// A new balancer was started, to succeed this one.
    Successor { pid: u32 },
    /// So many of its workers are ready.
    SuccessorOnline { online: usize, workers: usize },
    /// It has succeeded this one, which finishes what it has.
    Upgraded(Upgraded),
    /// From now on requests go to the new workers only.
    Switched { workers: usize },
    /// A worker gets no further requests and finishes what it has; with a `turn`, its
    /// successor starts after its end.
    Draining {
        worker: WorkerId,
        pid: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        turn: Option<Turn>,
    },
    /// A worker has ended.
    Stopped { worker: WorkerId, pid: u32 },
    /// The change is complete. Nothing follows. What workers that were replaced still have
    /// goes on in the background: `requests`, and `longLived` connections, which are event
    /// streams and upgraded ones.
    #[serde(rename_all = "camelCase")]
    Done {
        workers: usize,
        after_ms: u64,
        #[serde(default)]
        requests: u64,
        #[serde(default)]
        long_lived: u64,
    },
    /// Something that whoever asked for the change should know, and that does not keep it.
    Warning { reason: String },
    /// Nothing was changed, or all that was has been undone, unless `reason` says what is
    /// left. Nothing follows.
    #[serde(rename_all = "camelCase")]
    Failed {
        reason: String,
        /// What the worker has printed last because of which it failed.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        last_lines: Vec<String>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_a_number_or_a_difference() {
        for (scale, text) in [
            (Scale::Workers(4), r#"{"workers":4}"#),
            (Scale::Add(1), r#"{"add":1}"#),
            (Scale::Add(-1), r#"{"add":-1}"#),
        ] {
            assert_eq!(serde_json::to_string(&scale).unwrap(), text);
            assert_eq!(serde_json::from_str::<Scale>(text).unwrap(), scale);
        }
        for bad in ["{}", r#"{"workers":-1}"#, r#"{"workers":4,"add":1}"#, r#"{"more":1}"#, "4"] {
            assert!(serde_json::from_str::<Scale>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn progress_is_one_tagged_object() {
        let text =
            serde_json::to_string(&Progress::Ready { worker: WorkerId(2), pid: 7, after_ms: 12 }).unwrap();
        assert_eq!(text, r#"{"event":"ready","worker":2,"pid":7,"afterMs":12}"#);
    }
}

/// An upgrade that is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Upgraded {
    pub from_pid: u32,
    pub pid: u32,
    pub from_version: String,
    pub version: String,
    pub workers: usize,
    pub after_ms: u64,
}
