//! What is asked of whom.

use std::net::SocketAddr;
use std::time::Duration;

use shared_protocol::WorkerRef;

use super::statuses::Statuses;

/// What is asked of a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// A GET of this path.
    Http(String),
    /// A connection, no more.
    Tcp,
}

/// How workers are probed.
#[derive(Debug, Clone)]
pub struct Probing {
    pub check: Check,
    pub interval: Duration,
    pub timeout: Duration,
    /// The name in the Host field, if somebody has chosen one.
    pub host: Option<String>,
    /// The statuses of healthy workers, if somebody has chosen them.
    pub statuses: Option<Statuses>,
}

/// Who must answer.
#[derive(Debug, Clone, Copy)]
pub enum Expected {
    /// A bundled worker, which names itself.
    Bundled(WorkerRef),
    /// A program below the shim with this pid.
    Program { shim: u32 },
}

/// Whom to ask.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    pub address: SocketAddr,
    pub expected: Expected,
}
