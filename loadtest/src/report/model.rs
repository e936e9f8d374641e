//! The result of a run, as every form of output has it. Saved as JSON it is
//! also what `loadtest compare` reads.

use serde::{Deserialize, Serialize};
use shared_balance_stats::Balance;

use crate::client::failure::ErrorClass;
use crate::stats::Handshakes;

/// Names the form of the JSON; a change that readers would notice changes it.
pub const SCHEMA: &str = "loadtest/1";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub schema: String,
    /// RFC 3339, UTC.
    pub started: String,
    pub version: String,
    pub setup: Setup,
    pub outcome: Outcome,
    /// From sending to the end of the response.
    pub service_time: Times,
    /// From when the request was due to the end of the response; open loop only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_time: Option<Times>,
    /// To make a connection; `None` when none was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_time: Option<Times>,
    /// `None` without TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    pub errors: Vec<ErrorRow>,
    /// (status, responses), ascending.
    pub statuses: Vec<(u16, u64)>,
    pub workers: Vec<WorkerRow>,
    /// Responses that name no worker.
    pub unnamed_responses: u64,
    pub balance: Option<BalanceReport>,
    /// One per entry of the mix; empty without one.
    pub mix: Vec<MixRow>,
    pub client: Client,
    pub series: Series,
    pub thresholds: Vec<Threshold>,
    pub notes: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Setup {
    pub target: String,
    /// `GET /cluster/info`, one per entry of the mix.
    pub requests: Vec<String>,
    pub protocol: String,
    /// `closed`, `open`, `ramp`.
    pub mode: String,
    pub connections: usize,
    pub streams: usize,
    pub threads: usize,
    pub keepalive: bool,
    /// Requests per second that were wanted; for a ramp the first and last.
    pub rate: Option<(f64, f64)>,
    pub warmup_seconds: f64,
    pub timeout_seconds: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    pub seconds: f64,
    pub interrupted: bool,
    /// Requests that came to an end: answered, or failed without an answer.
    pub requests: u64,
    /// Complete responses.
    pub answered: u64,
    /// Answered as wished.
    pub succeeded: u64,
    pub failed: u64,
    /// Without an answer when the time was over; neither counted nor failed.
    pub in_flight: u64,
    /// Sent again, because the server had closed the connection before it saw the
    /// request; no failures of their own.
    #[serde(default)]
    pub retried: u64,
    /// Complete responses per second.
    pub requests_per_second: f64,
    pub bytes: u64,
}

/// How connections were secured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// Version and cipher: `TLS 1.3, AES_128_GCM_SHA256`.
    pub security: String,
    pub handshakes: Handshakes,
}

/// All times in milliseconds, but for the histogram.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Times {
    pub count: u64,
    pub avg: f64,
    pub stdev: f64,
    pub min: f64,
    pub p50: f64,
    pub p75: f64,
    pub p90: f64,
    pub p95: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
    /// (nanoseconds, how often), ascending; each value within 0.1 %.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub histogram: Vec<(u64, u64)>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorRow {
    pub class: ErrorClass,
    pub count: u64,
    /// The first one, in words.
    pub example: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerRow {
    pub id: String,
    pub requests: u64,
    pub errors: u64,
    /// Connections on which it answered.
    pub connections: u64,
    /// Connections on which nobody else answered.
    pub own_connections: u64,
    /// Of all requests that name a worker, 0…1.
    pub share: f64,
    /// Service time.
    pub times: Times,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BalanceReport {
    pub requests: Balance,
    /// Of connections with one worker each; `None` when requests of one
    /// connection go to several workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<Balance>,
    /// What it comes to, in words.
    pub analysis: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MixRow {
    pub request: String,
    pub answered: u64,
    pub errors: u64,
    pub times: Times,
}

/// What the load generator itself did and needed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Client {
    /// Time on a core over the run's time, per thread: 1 is a whole core.
    pub cpu: Vec<f64>,
    /// Time waiting for a core over the run's time, per thread.
    pub waited: Vec<f64>,
    /// How late the client sent, though a connection was free; open loop only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag: Option<Times>,
    /// Sent over due; open loop only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub achieved: Option<Achieved>,
    /// Why the figures are the load generator's limit and not the target's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limited_by: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Achieved {
    pub due: u64,
    pub sent: u64,
    /// Sent late because every connection was busy.
    pub sent_late: u64,
    /// Sent over due.
    pub ratio: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Series {
    pub seconds_per_point: f64,
    pub points: Vec<Point>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Point {
    /// Start of the stretch, in seconds.
    pub at: f64,
    /// Its length; the last one may be shorter.
    pub seconds: f64,
    pub answered: u64,
    pub errors: u64,
    /// Milliseconds.
    pub avg: f64,
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
    pub max: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Threshold {
    pub condition: String,
    /// What was measured, with its unit.
    pub actual: String,
    pub passed: bool,
}

impl Report {
    /// The times that count: response times in an open loop, else service times.
    pub fn headline_times(&self) -> &Times {
        self.response_time.as_ref().unwrap_or(&self.service_time)
    }

    pub fn is_open(&self) -> bool {
        self.response_time.is_some()
    }

    /// The measurement does not say what it was made to say: exit code 3.
    pub fn is_invalid(&self) -> bool {
        self.client.limited_by.is_some()
    }
}
