//! What a primary and a bundled worker tell each other where workers accept clients'
//! connections themselves.

use serde::{Deserialize, Serialize};

/// Upper bounds of latency histograms in seconds; one more bucket has none.
pub const LATENCY_BOUNDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// The same in microseconds.
pub const LATENCY_BOUNDS_MICROS: [u64; 14] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000,
];

/// What a primary tells a bundled worker, one JSON object per line, over the socket on which
/// that sends [`WorkerMessage`](crate::WorkerMessage)s.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "command")]
pub enum PrimaryMessage {
    /// Accept clients' connections from now on.
    Accept,
    /// Accept none any more, finish what clients have sent, and end.
    Drain,
    /// To the question with this number.
    Answer { id: u64, status: u16, body: String },
}

/// What a worker has answered since it told so last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrafficReport {
    /// Status codes, each with its number of requests.
    pub statuses: Vec<(u16, u64)>,
    /// Requests in each bucket of [`LATENCY_BOUNDS`] and in the one beyond.
    pub buckets: Vec<u64>,
    /// The sum of the times of all requests.
    pub micros: u64,
    /// Connections that are open now.
    pub connections: u64,
    /// Requests that are in flight now.
    pub in_flight: u64,
}
