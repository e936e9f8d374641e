//! The control API: what `status` reads, and what is told of a change.

use serde::{Deserialize, Serialize};

use crate::{ClusterHealth, Sample, WorkerId, WorkerList};

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
    /// The last second; `null` in the first one.
    #[serde(default)]
    pub sample: Option<Sample>,
    #[serde(flatten)]
    pub list: WorkerList,
}

/// `POST /scale`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scale {
    pub workers: u32,
}

/// What whoever asked for a change is told of it, in this order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "event")]
pub enum Progress {
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
    /// Nothing was changed, or all that was has been undone. Nothing follows.
    Failed { reason: String },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_one_tagged_object() {
        let text =
            serde_json::to_string(&Progress::Ready { worker: WorkerId(2), pid: 7, after_ms: 12 }).unwrap();
        assert_eq!(text, r#"{"event":"ready","worker":2,"pid":7,"afterMs":12}"#);
    }
}
