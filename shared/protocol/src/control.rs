//! The control API: what `status` reads, and what is told of a change.

use serde::{Deserialize, Serialize};

use crate::{ClusterHealth, ReleaseChanges, Sample, WorkerId, WorkerList};

/// `GET /status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    pub version: String,
    pub address: String,
    /// `null` when it is switched off.
    pub admin: Option<String>,
    /// Seconds since the primary's start.
    pub uptime_seconds: f64,
    pub health: ClusterHealth,
    /// The numbers of workers that the load chooses from; absent where the number is fixed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<WorkerRange>,
    /// The last second; `null` in the first one.
    #[serde(default)]
    pub sample: Option<Sample>,
    #[serde(flatten)]
    pub list: WorkerList,
}

/// The numbers of workers that the load chooses from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerRange {
    pub min: usize,
    pub max: usize,
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
    /// From now on requests go to the new workers only.
    Switched { workers: usize },
    /// A worker gets no further requests and finishes what it has.
    Draining { worker: WorkerId, pid: u32 },
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
    /// Nothing was changed, or all that was has been undone. Nothing follows.
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
