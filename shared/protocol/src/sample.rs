//! One second of traffic, as `GET /status` and the dashboard tell it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What happened in one second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sample {
    /// Milliseconds since 1970-01-01 UTC.
    pub at_ms: u64,
    #[serde(flatten)]
    pub all: Rates,
    /// Requests being worked on at its end.
    pub in_flight: u64,
    /// By worker; those that had no request are left out, and all of them in samples
    /// that are older.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub workers: BTreeMap<u32, Rates>,
}

/// Requests of one second. Latencies are in milliseconds, `null` without requests.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    pub requests: u64,
    /// Those with a status from 500 on.
    pub errors: u64,
    pub p50: Option<f64>,
    pub p95: Option<f64>,
    pub p99: Option<f64>,
}
