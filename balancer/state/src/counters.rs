//! What has been counted since the start, for all slots and the primary.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use balancer_pool::traffic::Traffic;
use shared_protocol::{RestartReason, WorkerId};

use crate::faults::{Rejections, WorkerFault};
use crate::handshakes::Handshakes;
use crate::http2::Http2Endings;

/// How a reload ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReloadOutcome {
    Done,
    RolledBack,
    /// Some workers were replaced, one by one, and then it ended.
    Partial,
}

/// Everything that is counted.
#[derive(Debug, Default)]
pub struct Counters {
    /// What the primary answered itself.
    pub primary: Arc<Traffic>,
    /// Clients that had too many connections open already.
    pub connections_refused: AtomicU64,
    /// Connections that were closed because of the PROXY protocol.
    pub proxy_protocol: ProxyProtocolStats,
    /// TLS handshakes, by how they ended.
    pub handshakes: Handshakes,
    /// What is kept in memory for slow clients.
    pub buffers: BufferStats,
    /// Responses that are compressed.
    pub compression: CompressionStats,
    /// Lines of the access log that were lost; the log itself adds to it.
    pub access_log_dropped: Arc<AtomicU64>,
    /// Lines of the balancer's own log that were lost; the log itself adds to it.
    pub log_dropped: Arc<AtomicU64>,
    /// Lines of workers that were lost; the log adds to it.
    pub output_dropped: Arc<AtomicU64>,
    /// Valid requests that the balancer rejected.
    pub rejections: Rejections,
    /// HTTP/2 connections that ended because of what their clients did.
    pub http2: Http2Endings,
    slots: Mutex<BTreeMap<WorkerId, Slot>>,
    reloads_done: AtomicU64,
    reloads_rolled_back: AtomicU64,
    reloads_partial: AtomicU64,
}

/// Connections that were closed because nobody could say for whom they were.
#[derive(Debug, Default)]
pub struct ProxyProtocolStats {
    /// From an address whose header is not believed.
    pub wrong_source: AtomicU64,
    /// Without a header, or with one that is not valid or not whole in time.
    pub wrong_header: AtomicU64,
}

/// What is kept in memory for slow clients: bodies of requests until they are whole,
/// and responses that their workers have finished with.
#[derive(Debug, Default)]
pub struct BufferStats {
    /// Bytes of the bounded memory that buffers hold now.
    pub held: AtomicU64,
    /// Requests that went to a worker early because the memory was used up.
    pub requests_refused: AtomicU64,
    /// Responses that occupied their worker because the memory was used up.
    pub responses_refused: AtomicU64,
}

/// What compression has made of responses.
#[derive(Debug, Default)]
pub struct CompressionStats {
    /// Bytes as workers have sent them.
    pub read: AtomicU64,
    /// Bytes that have become of them.
    pub written: AtomicU64,
    /// Responses that stayed as they were because the memory was used up.
    pub refused: AtomicU64,
}

/// One slot's counters; they outlive its processes.
#[derive(Debug, Clone, Default)]
struct Slot {
    traffic: Arc<Traffic>,
    replaced: BTreeMap<RestartReason, u64>,
    faults: BTreeMap<WorkerFault, u64>,
}

/// One slot's counters, as they are at one moment.
#[derive(Debug, Clone)]
pub struct SlotCounters {
    pub id: WorkerId,
    pub traffic: Arc<Traffic>,
    /// Processes that were started in place of another.
    pub replaced: BTreeMap<RestartReason, u64>,
    /// Faults that requests met.
    pub faults: BTreeMap<WorkerFault, u64>,
}

impl Counters {
    /// The counters of slot `id`, for the request path to keep.
    pub fn traffic(&self, id: WorkerId) -> Arc<Traffic> {
        Arc::clone(&self.lock().entry(id).or_default().traffic)
    }

    /// All counters of requests, the primary's first.
    pub fn all_traffic(&self) -> Vec<(WorkerId, Arc<Traffic>)> {
        let slots = self.lock();
        let workers = slots.iter().map(|(&id, slot)| (id, Arc::clone(&slot.traffic)));
        std::iter::once((WorkerId::PRIMARY, Arc::clone(&self.primary))).chain(workers).collect()
    }

    /// The counters of all slots, the primary's (slot 0) first.
    pub fn slots(&self) -> Vec<SlotCounters> {
        let primary = SlotCounters {
            id: WorkerId::PRIMARY,
            traffic: Arc::clone(&self.primary),
            replaced: BTreeMap::new(),
            faults: BTreeMap::new(),
        };
        let slots = self.lock();
        let workers = slots.iter().map(|(&id, slot)| SlotCounters {
            id,
            traffic: Arc::clone(&slot.traffic),
            replaced: slot.replaced.clone(),
            faults: slot.faults.clone(),
        });
        std::iter::once(primary).chain(workers).collect()
    }

    /// How many reloads have ended in this way.
    pub fn reloads(&self, outcome: ReloadOutcome) -> u64 {
        self.count_of(outcome).load(Ordering::Relaxed)
    }

    fn count_of(&self, outcome: ReloadOutcome) -> &AtomicU64 {
        match outcome {
            ReloadOutcome::Done => &self.reloads_done,
            ReloadOutcome::RolledBack => &self.reloads_rolled_back,
            ReloadOutcome::Partial => &self.reloads_partial,
        }
    }

    /// Notes that a process of slot `id` was replaced.
    pub fn replaced(&self, id: WorkerId, reason: RestartReason) {
        *self.lock().entry(id).or_default().replaced.entry(reason).or_default() += 1;
    }

    /// Notes that a request met a fault of worker `id`.
    pub fn worker_fault(&self, id: WorkerId, fault: WorkerFault) {
        *self.lock().entry(id).or_default().faults.entry(fault).or_default() += 1;
    }

    pub fn reloaded(&self, outcome: ReloadOutcome) {
        self.count_of(outcome).fetch_add(1, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<WorkerId, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_slots_counters_outlive_its_processes() {
        let counters = Counters::default();
        counters.traffic(WorkerId(1)).record(200, Duration::ZERO);
        counters.traffic(WorkerId(1)).record(200, Duration::ZERO);
        assert_eq!(counters.traffic(WorkerId(1)).by_status().next(), Some((200, 2)));
        (0..3).for_each(|_| counters.worker_fault(WorkerId(1), WorkerFault::Closed));
        assert_eq!(counters.slots()[1].faults, BTreeMap::from([(WorkerFault::Closed, 3)]));
    }
}
