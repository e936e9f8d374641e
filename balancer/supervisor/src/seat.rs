//! A slot and the process in it. During a change two seats have the same id: one
//! serves, the other is on trial or on its way out.

use std::sync::Arc;
use std::time::Instant;

use shared_protocol::{StoreHealth, WorkerId};
use tokio::task::JoinHandle;

use super::process::Process;
use super::recycle::Budget;
use super::slot::{Limits, Slot};
use balancer_pool::Worker;
use balancer_state::registry::Role;

#[derive(Debug)]
pub struct Seat {
    pub role: Role,
    pub slot: Slot,
    pub post: Option<Post>,
    /// Was started for a change that has failed.
    pub abandoned: bool,
    /// Why the last probe of a starting process was missed.
    pub not_ready: Option<String>,
    /// Why the slot's process never got ready.
    pub failure: Option<String>,
}

/// A process at its slot.
#[derive(Debug)]
pub struct Post {
    pub process: Process,
    /// The worker itself; a program's keeper until it has said more.
    pub pid: u32,
    pub launched: Instant,
    /// From the moment it has told its port.
    pub worker: Option<Arc<Worker>>,
    pub probes: Option<JoinHandle<()>>,
    pub store: Option<StoreHealth>,
    /// From the moment it is online, if there are limits.
    pub budget: Option<Budget>,
}

impl Post {
    pub fn new(process: Process, now: Instant) -> Self {
        let pid = process.child;
        Self { process, pid, launched: now, worker: None, probes: None, store: None, budget: None }
    }

    pub fn in_flight(&self) -> u64 {
        self.worker.as_ref().map_or(0, |worker| worker.in_flight())
    }
}

impl Drop for Post {
    fn drop(&mut self) {
        if let Some(probes) = &self.probes {
            probes.abort();
        }
    }
}

impl Seat {
    pub fn current(id: WorkerId, limits: Limits, now: Instant) -> Self {
        Self {
            role: Role::Current,
            slot: Slot::new(id, limits, now),
            post: None,
            abandoned: false,
            not_ready: None,
            failure: None,
        }
    }

    pub fn candidate(id: WorkerId, limits: Limits, now: Instant) -> Self {
        Self {
            role: Role::Candidate,
            slot: Slot::candidate(id, limits, now),
            post: None,
            abandoned: false,
            not_ready: None,
            failure: None,
        }
    }

    pub fn pid(&self) -> Option<u32> {
        self.post.as_ref().map(|post| post.pid)
    }

    /// Nothing is left to be done for it.
    pub fn is_over(&self) -> bool {
        self.role != Role::Current && self.slot.is_stopped()
    }

    /// Its process has been retired and has nothing to do any more.
    pub fn is_drained(&self) -> bool {
        self.slot.is_draining() && self.post.as_ref().is_none_or(|post| post.in_flight() == 0)
    }
}
