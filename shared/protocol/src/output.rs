//! What workers print.

use serde::{Deserialize, Serialize};

use crate::{Generation, WorkerId};

/// Where a line was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputStream {
    Stdout,
    Stderr,
}

impl OutputStream {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// One line of the answer to `GET /logs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OutputRecord {
    Line(OutputLine),
    /// So many lines came faster than they were read, and are no longer kept.
    Missed {
        missed: u64,
    },
}

/// A line that a worker has printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutputLine {
    /// Grows by one with each line of this primary's workers.
    pub sequence: u64,
    /// Milliseconds since 1970-01-01 UTC.
    pub at_ms: u64,
    pub worker: WorkerId,
    pub pid: u32,
    pub generation: Generation,
    pub stream: OutputStream,
    /// Without the line's end. It is the program's own, colours included.
    pub text: String,
}
