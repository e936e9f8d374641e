//! The processes that run, by their generation: what the fleet does not need to know
//! of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use balancer_pool::Worker;
use shared_protocol::{Generation, StoreHealth};
use tokio::task::AbortHandle;

use crate::process::ProcessHandle;

pub(crate) type RunningProcesses = BTreeMap<Generation, RunningProcess>;

/// A launched process that was not reaped yet, and the tasks that belong to it.
#[derive(Debug)]
pub(crate) struct RunningProcess {
    pub(crate) handle: ProcessHandle,
    /// The worker itself; of a supervised program its shim, until that has said more.
    pub(crate) pid: u32,
    /// From the moment that its port is known.
    pub(crate) worker: Option<Arc<Worker>>,
    /// The store, as its last answered probe told it.
    pub(crate) store: Option<StoreHealth>,
    /// Its probes, and the wait for its last request.
    pub(crate) tasks: Vec<AbortHandle>,
}

impl RunningProcess {
    pub(crate) fn new(handle: ProcessHandle) -> Self {
        Self { pid: handle.child, handle, worker: None, store: None, tasks: Vec::new() }
    }

    /// The worker's own pid, once it is known.
    pub(crate) fn own_pid(&self) -> Option<u32> {
        (!self.handle.is_shim || self.worker.is_some()).then_some(self.pid)
    }

    /// The shim above a supervised program, once the program's own pid is known.
    pub(crate) fn shim(&self) -> Option<u32> {
        (self.handle.is_shim && self.worker.is_some()).then_some(self.handle.child)
    }
}

impl Drop for RunningProcess {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}
