//! Who this process is in the cluster.

use std::process;

use serde::Serialize;
use shared_protocol::{WORKER_GENERATION_VAR, WORKER_ID_VAR, WorkerId, WorkerRef};
use shared_settings::ConfigError;

/// One process is one worker: this does not change while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Identity {
    pub worker: WorkerRef,
    /// Is there a primary above? Else this process is its own.
    pub supervised: bool,
}

impl Identity {
    /// A process without a cluster has id 0, and can have a name that tells it
    /// from others of its kind.
    pub fn single_process(name: Option<&str>) -> Self {
        // It lasts as long as the process, and every answer has it.
        let name = name.map(|name| &*Box::leak(name.to_owned().into_boxed_str()));
        let worker = WorkerRef { name, ..WorkerRef::new(WorkerId::PRIMARY, process::id()) };
        Self { worker, supervised: false }
    }

    /// What the primary put into the environment of a worker.
    ///
    /// # Errors
    /// When it is missing or no identity: then no primary started this process.
    pub fn from_environment() -> Result<Self, ConfigError> {
        let id = variable(WORKER_ID_VAR)?;
        let id = u32::try_from(id).ok().filter(|&id| id > 0).ok_or_else(|| missing(WORKER_ID_VAR))?;
        variable(WORKER_GENERATION_VAR)?;
        Ok(Self { worker: WorkerRef::new(WorkerId(id), process::id()), supervised: true })
    }
}

fn variable(name: &'static str) -> Result<u64, ConfigError> {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).ok_or_else(|| missing(name))
}

fn missing(name: &'static str) -> ConfigError {
    ConfigError::Conflict(format!(
        "{name} is not set to a number; only a primary starts a worker in this way"
    ))
}
