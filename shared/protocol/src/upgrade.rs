//! An upgrade: a running cluster is succeeded by a new one that serves the same sockets.

use serde::{Deserialize, Serialize};

/// `POST /upgrade`: which program succeeds the cluster, and with which arguments.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Upgrade {
    /// A path; by default the one by which the cluster was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executable: Option<String>,
    /// By default those with which the cluster was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Vec<String>>,
}

/// The first line from a cluster to its successor. Fields are only ever added, as the two
/// may be of different versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Handover {
    pub version: String,
    pub pid: u32,
    /// The sockets of clients belong to whoever has started the first cluster, as a service
    /// manager does, and not to the cluster.
    pub are_inherited: bool,
    /// Where the embedded store is, if it goes away with the cluster.
    #[serde(default)]
    pub temporary_state: Option<String>,
    /// The files of these sockets go away with the cluster.
    #[serde(default)]
    pub files: Vec<String>,
    /// So does the directory of the control socket.
    #[serde(default)]
    pub owns_control_directory: bool,
    /// How many workers there are to be, where the load chooses the number.
    #[serde(default)]
    pub workers: Option<usize>,
    /// Requests are answered 503, and clients may try again after so many seconds.
    #[serde(default)]
    pub maintenance_retry_after: Option<u32>,
}

/// The one word from a cluster to its successor after that, on a line.
pub const TAKE_OVER: &str = "takeOver";

/// What a successor tells, one JSON object on each line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "event")]
pub enum SuccessorMessage {
    /// It has read its configuration and has its sockets. A worker of it is given up after
    /// `startup_ms` milliseconds.
    #[serde(rename_all = "camelCase")]
    Configured { version: String, workers: usize, startup_ms: u64 },
    /// So many of its workers are ready.
    Online { online: usize, workers: usize },
    /// All of them are: it waits for [`TAKE_OVER`].
    Ready,
    /// It accepts connections.
    Serving {
        /// Files of sockets and a directory of state, of those that the predecessor had, which
        /// go on being used; older versions do not tell, and mean all of them.
        #[serde(default)]
        keeps: Option<Vec<String>>,
    },
    /// It will not come to that.
    #[serde(rename_all = "camelCase")]
    Failed {
        reason: String,
        #[serde(default)]
        last_lines: Vec<String>,
    },
}
