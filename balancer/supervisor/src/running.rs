//! The processes that run, by their generation: what the fleet does not need to know
//! of them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use balancer_pool::Worker;
use shared_protocol::{Generation, StoreHealth};
use tokio::task::AbortHandle;

use crate::diagnosis::Cause;
use crate::handles::Place;
use crate::look::Look;
use crate::probe::Finding;
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
    /// What the socket of a program is bound to, from the moment that it is ready.
    pub(crate) bound: Option<SocketAddr>,
    /// The status of its last answered probe.
    pub(crate) status: Option<u16>,
    /// What is known of its start.
    pub(crate) start: Start,
    /// Its probes, and the wait for its last request.
    pub(crate) tasks: Vec<AbortHandle>,
}

/// What is known of a process that is not ready yet.
#[derive(Debug, Default)]
pub(crate) struct Start {
    /// What was seen of it last from outside.
    pub(crate) look: Option<Look>,
    /// What its last probe found.
    pub(crate) finding: Option<Finding>,
    /// Why it is not ready, as it was said last.
    pub(crate) told: Option<Cause>,
    /// It has said itself that it cannot start.
    pub(crate) has_reported: bool,
    /// Looks at it from outside.
    pub(crate) watch: Option<AbortHandle>,
}

impl Start {
    /// It is ready, or will never be.
    pub(crate) fn is_over(&mut self) {
        if let Some(watch) = self.watch.take() {
            watch.abort();
        }
    }

    /// Was it seen to listen?
    pub(crate) fn has_listened(&self) -> bool {
        self.look.as_ref().is_some_and(|look| !look.sockets.tcp.is_empty())
            || !matches!(self.finding, None | Some(Finding::Refused))
    }
}

impl RunningProcess {
    pub(crate) fn new(handle: ProcessHandle) -> Self {
        Self {
            pid: handle.child,
            handle,
            worker: None,
            store: None,
            bound: None,
            status: None,
            start: Start::default(),
            tasks: Vec::new(),
        }
    }

    /// The worker's own pid, once it is known.
    pub(crate) fn own_pid(&self) -> Option<u32> {
        (!self.handle.is_shim || self.worker.is_some()).then_some(self.pid)
    }

    /// Where the program is, if it is one and its port is known.
    pub(crate) fn place(&self) -> Option<Place> {
        let worker = self.worker.as_ref().filter(|_| self.handle.is_shim)?;
        Some(Place { shim: self.handle.child, port: worker.address.port() })
    }

    /// The shim above a supervised program, once the program's own pid is known.
    pub(crate) fn shim(&self) -> Option<u32> {
        (self.handle.is_shim && self.worker.is_some()).then_some(self.handle.child)
    }
}

impl Drop for RunningProcess {
    fn drop(&mut self) {
        self.start.is_over();
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}
