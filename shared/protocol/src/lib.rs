//! Identities, states, names and JSON bodies that more than one program uses.

mod certificate;
mod control;
mod direct;
mod event;
mod output;
pub mod problem;
mod release;
mod reload;
mod restart;
mod sample;
mod upgrade;

use std::fmt;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};

pub use certificate::CertificateStatus;
pub use control::{Maintenance, Progress, Scale, ShutdownPhase, Status, Upgraded, WorkerRange};
pub use direct::{LATENCY_BOUNDS, LATENCY_BOUNDS_MICROS, PrimaryMessage, TrafficReport};
pub use event::{Event, EventKind};
pub use output::{OutputLine, OutputRecord, OutputStream};
pub use release::ReleaseChanges;
pub use reload::{ReleaseId, ReloadMode, Turn, UnknownReloadMode};
pub use restart::RestartReason;
pub use sample::{Rates, Sample};
pub use upgrade::{
    Handover, Secret, Stopping, SuccessorMessage, TAKE_OVER, TicketKey, Tickets, Upgrade, Word,
};

/// Response header: the worker that answered; `0` is the primary itself.
pub const WORKER_ID_HEADER: &str = "x-worker-id";
/// Request and response header: one id for one request, end to end.
pub const REQUEST_ID_HEADER: &str = "x-request-id";

/// Environment of a worker process: its slot, 1…N.
pub const WORKER_ID_VAR: &str = "WORKER_ID";
/// Environment of a worker process: how many workers the cluster wants.
pub const WORKER_COUNT_VAR: &str = "WORKER_COUNT";
/// Environment of a worker process: which start of the slot this is.
pub const WORKER_GENERATION_VAR: &str = "WORKER_GENERATION";

/// Environment of a bundled worker: which files of the state directory are the cluster's.
pub const STATE_FILES_VAR: &str = "WORKER_STATE_FILES";

/// A worker's slot in the cluster: 1…N, kept across restarts. `0` stands for a
/// process that is its own primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct WorkerId(pub u32);

impl WorkerId {
    /// The primary, or a single process that runs without a cluster.
    pub const PRIMARY: Self = Self(0);
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Counts the processes that the cluster has started: never used twice, so it
/// tells a replacement from its predecessor even on the same port or pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a process is called from its start to its end.
pub type Name = &'static str;

/// Who answered: `{"id": 2, "pid": 12345}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WorkerRef {
    pub id: WorkerId,
    pub pid: u32,
    /// What a process without a cluster is called, such as its pod. It is for
    /// people: programs go by the rest, and do not read it.
    #[serde(default, deserialize_with = "ignored", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, example = "cluster-worker-7d9f8c6b5-x2x4q"))]
    pub name: Option<Name>,
}

/// Reads a name and forgets it.
fn ignored<'de, D: Deserializer<'de>>(name: D) -> Result<Option<Name>, D::Error> {
    IgnoredAny::deserialize(name).map(|_| None)
}

impl WorkerRef {
    pub fn new(id: WorkerId, pid: u32) -> Self {
        Self { id, pid, name: None }
    }
}

/// The name, else the id: who it is in a message.
impl fmt::Display for WorkerRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name {
            Some(name) => f.write_str(name),
            None => self.id.fmt(f),
        }
    }
}

/// Where a worker is in its life, as operators see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum WorkerState {
    /// Started, not yet ready: gets no requests.
    Starting,
    /// Ready: gets requests.
    Online,
    /// Misses its probes, so that it gets no requests until it answers one; or was not
    /// ready in time and is being ended.
    Unhealthy,
    /// Does nothing any more: is being ended and replaced.
    Hung,
    /// Finishing what it has; gets no new requests.
    Draining,
    /// Died; waits for its next start.
    Backoff,
    /// Given up.
    Failed,
}

impl fmt::Display for WorkerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Online => "online",
            Self::Unhealthy => "unhealthy",
            Self::Hung => "hung",
            Self::Draining => "draining",
            Self::Backoff => "backoff",
            Self::Failed => "failed",
        })
    }
}

/// One entry of `GET /cluster/workers`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct WorkerStatus {
    pub id: WorkerId,
    /// `null` while no process runs in this slot.
    pub pid: Option<u32>,
    pub state: WorkerState,
    /// How long it has been in this state.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(example = 12.34))]
    pub state_seconds: f64,
    /// Loopback port; `null` until the worker has reported it.
    pub port: Option<u16>,
    /// Where the worker is asked: that port of 127.0.0.1, or of `[::1]` if its program
    /// listens there only; absent while the port is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(example = "127.0.0.1:40693"))]
    pub address: Option<String>,
    /// Why it is not ready, in words, once it has taken its time or has failed; while it
    /// drains, what it still has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "openapi",
        schema(example = "listens on 0.0.0.0:9292, not on $HOST:$PORT 127.0.0.1:40693")
    )]
    pub reason: Option<String>,
    /// What a worker with a `reason` has printed last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last_lines: Vec<String>,
    /// Time since this process became ready, such as `"12.34s"`; `null` before.
    #[cfg_attr(feature = "openapi", schema(example = "12.34s"))]
    pub uptime: Option<String>,
    /// Starts after the first one, planned ones apart.
    pub restarts: u64,
    /// Why the last of them was necessary, such as `"crash"` or `"hang"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(example = "crash"))]
    pub last_restart: Option<String>,
    /// The release that it runs, or starts from next: 1 is the one that the cluster was
    /// started with, and each reload opens the next one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u64>, example = 1))]
    pub release: Option<ReleaseId>,
    /// Requests handed to this process by the balancer.
    pub requests: u64,
    /// Requests that this process is working on for the balancer.
    pub in_flight: u64,
    /// Resident memory, such as `"9.50 MB"`; `null` while no process runs.
    #[cfg_attr(feature = "openapi", schema(example = "9.50 MB"))]
    pub rss: Option<String>,
    /// Processor time that the process has used; absent while none runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(example = 0.42))]
    pub cpu_seconds: Option<f64>,
}

/// `GET /cluster/workers`, answered by the primary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WorkerList {
    pub primary: PrimaryRef,
    pub workers: Vec<WorkerStatus>,
    pub count: usize,
    /// Started to take the place of workers, or to join them; not ready yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub joining: Vec<WorkerStatus>,
    /// Replaced or no longer wanted; they finish what they have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leaving: Vec<WorkerStatus>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PrimaryRef {
    pub pid: u32,
}

/// `GET /health` through the balancer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ClusterHealth {
    pub status: ClusterStatus,
    pub workers: WorkerCounts,
    /// The shared store, as the workers see it; absent until one has said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreHealth>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum ClusterStatus {
    /// Every wanted worker is online and the store answers.
    Ok,
    /// It serves, with fewer workers than wanted or without its store.
    Degraded,
    /// No worker is ready, or the cluster is shutting down.
    Unavailable,
}

impl fmt::Display for ClusterStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Unavailable => "unavailable",
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WorkerCounts {
    pub online: usize,
    pub desired: usize,
}

/// `GET /health` of a bundled worker. It is alive and ready when it can answer
/// this at all; a lost store takes the store's routes away, not the worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WorkerHealth {
    pub status: ClusterStatus,
    pub worker: WorkerRef,
    pub store: StoreHealth,
}

/// `GET /health`, whose form depends on who answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum Health {
    /// The balancer answers for its workers.
    Cluster(ClusterHealth),
    /// A worker answers for itself: asked directly, or without a cluster.
    Worker(WorkerHealth),
}

impl Health {
    pub fn status(&self) -> ClusterStatus {
        match self {
            Self::Cluster(health) => health.status,
            Self::Worker(health) => health.status,
        }
    }

    /// The shared store, when somebody has said how it is.
    pub fn store(&self) -> Option<&StoreHealth> {
        match self {
            Self::Cluster(health) => health.store.as_ref(),
            Self::Worker(health) => Some(&health.store),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StoreHealth {
    pub backend: StoreKind,
    pub reachable: bool,
    /// What operators have to do something about; absent when it may pass by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    Redis,
    Embedded,
}

/// What a bundled worker, or the shim of a program, tells its primary, one JSON
/// object per line, over the socket that it was given as standard input. The primary's end closing tells
/// the worker that it is alone and must stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "event")]
pub enum WorkerMessage {
    /// The listening socket is bound and accepts connections.
    Listening { port: u16 },
    /// Start-up failed for good; the process exits after this.
    Failed { reason: String },
    /// The process has been asked to stop and takes no further connections.
    Leaving,
    /// What it has answered to clients whose connections it has accepted itself.
    Traffic(TrafficReport),
    /// What the primary would answer to a GET of this path.
    Ask { id: u64, path: String },
    /// From the shim of somebody else's program: it runs.
    Started { pid: u32 },
    /// From the shim of somebody else's program: it has ended, and so has all
    /// that it started. `status` is as wait(2) gives it; `left` is a process that it had
    /// left running when it ended by itself with success, as one does that goes into the
    /// background.
    Ended {
        status: i32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        left: Option<LeftRunning>,
    },
}

/// A process that outlived the one that had started it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftRunning {
    pub pid: u32,
    pub name: String,
}

/// Is `id` fit to be taken over from a client: 1…128 visible ASCII characters
/// of the set that ids are made of, so that it can stand in a log unescaped.
pub fn is_well_formed_request_id(id: &[u8]) -> bool {
    (1..=128).contains(&id.len())
        && id
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':' | b'/' | b'+' | b'='))
}

/// A fresh request id: 128 random bits as 32 hexadecimal digits.
pub fn new_request_id() -> [u8; 32] {
    let bits = fastrand::u128(..);
    std::array::from_fn(|place| b"0123456789abcdef"[(bits >> (4 * place)) as usize & 0xf])
}

/// What is in flight, for people, such as `2 requests and 1 long-lived connection`; `None`
/// when nothing is. Long-lived connections are upgraded ones and event streams.
pub fn in_flight_text(requests: u64, long_lived: u64) -> Option<String> {
    let some = |count: u64, what: &str| {
        let plural = if count == 1 { "" } else { "s" };
        (count > 0).then(|| format!("{count} {what}{plural}"))
    };
    let parts = [some(requests, "request"), some(long_lived, "long-lived connection")];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(" and "))
}

/// Bytes as a person reads them, in the form of the API: `"45.23 MB"`
/// (1 MB = 1,048,576 bytes, as Node's examples have it).
pub fn megabytes(bytes: u64) -> String {
    format!("{:.2} MB", bytes as f64 / (1024.0 * 1024.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_are_checked_and_made_well_formed() {
        assert!(is_well_formed_request_id(b"abc-123_X.y:z"));
        assert!(is_well_formed_request_id(&new_request_id()));
        assert!(is_well_formed_request_id(&[b'a'; 128]));
        assert!(!is_well_formed_request_id(&[b'a'; 129]));
        for bad in [&b""[..], b"a b", b"a\"b", b"a\nb", "ä".as_bytes()] {
            assert!(!is_well_formed_request_id(bad), "{bad:?}");
        }
        assert_ne!(new_request_id(), new_request_id());
    }

    #[test]
    fn what_is_in_flight_is_said_in_words() {
        assert_eq!(in_flight_text(0, 0), None);
        assert_eq!(in_flight_text(1, 0).as_deref(), Some("1 request"));
        assert_eq!(in_flight_text(0, 2).as_deref(), Some("2 long-lived connections"));
        assert_eq!(in_flight_text(2, 1).as_deref(), Some("2 requests and 1 long-lived connection"));
    }

    #[test]
    fn the_two_forms_of_health_are_told_apart() {
        let store = StoreHealth { backend: StoreKind::Embedded, reachable: true, problem: None };
        let worker = WorkerRef::new(WorkerId(1), 7);
        let workers = WorkerCounts { online: 1, desired: 2 };
        for health in [
            Health::Cluster(ClusterHealth { status: ClusterStatus::Degraded, workers, store: None }),
            Health::Worker(WorkerHealth { status: ClusterStatus::Ok, worker, store }),
        ] {
            let text = serde_json::to_string(&health).unwrap();
            assert!(text.starts_with(r#"{"status":"#), "{text}");
            assert_eq!(serde_json::from_str::<Health>(&text).unwrap(), health);
        }
        assert!(serde_json::from_str::<Health>(r#"{"status":"ok"}"#).is_err());
    }

    #[test]
    fn wire_forms_are_those_of_the_contract() {
        let message = WorkerMessage::Listening { port: 4000 };
        let line = serde_json::to_string(&message).unwrap();
        assert_eq!(line, r#"{"event":"listening","port":4000}"#);
        assert_eq!(serde_json::to_string(&WorkerState::Backoff).unwrap(), r#""backoff""#);
        let mut worker = WorkerRef::new(WorkerId(2), 7);
        assert_eq!(serde_json::to_string(&worker).unwrap(), r#"{"id":2,"pid":7}"#);
        worker.name = Some("pod-a");
        let text = serde_json::to_string(&worker).unwrap();
        assert_eq!(text, r#"{"id":2,"pid":7,"name":"pod-a"}"#);
        assert_eq!(serde_json::from_str::<WorkerRef>(&text).unwrap(), WorkerRef::new(WorkerId(2), 7));
        assert_eq!(megabytes(47_427_092), "45.23 MB");
    }
}
