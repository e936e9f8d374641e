//! What operators see of the cluster: every slot, ready or not.
//!
//! The supervisor is the only writer; `GET /cluster/workers` and `GET /health`
//! read it without a lock.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use arc_swap::ArcSwap;
use balancer_pool::Worker;
pub use shared_process::tree::Usage;
use shared_process::tree::{self, Processes};
use shared_protocol::{
    ClusterHealth, ClusterStatus, PrimaryRef, ReleaseId, RestartReason, ShutdownPhase, StoreHealth,
    WorkerCounts, WorkerId, WorkerList, WorkerRange, WorkerState, WorkerStatus, in_flight_text, megabytes,
};

use crate::maintenance::Maintenance;

/// What a process is to its slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Holds its id, and is kept running.
    Current,
    /// On trial: to take an id over.
    Candidate,
    /// On its way out: nobody follows it.
    Retiring,
}

/// One slot, or a second process with its id.
#[derive(Debug, Clone)]
pub struct Entry {
    pub id: WorkerId,
    pub role: Role,
    pub state: WorkerState,
    /// When it got into this state; [`Registry::publish`] keeps it while it stays.
    pub since: Instant,
    pub pid: Option<u32>,
    /// Stands above all that a program has started.
    pub shim: Option<u32>,
    /// The process's counters, once it has a port.
    pub worker: Option<Arc<Worker>>,
    pub online_since: Option<Instant>,
    pub restarts: u64,
    pub last_reason: Option<RestartReason>,
    /// What its process was started from, or its next one is.
    pub release: ReleaseId,
    /// The store, as the worker's last answered probe told it.
    pub store: Option<StoreHealth>,
    /// Why it is not ready, once that is known.
    pub reason: Option<Arc<Reason>>,
}

/// Why a worker is not ready.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reason {
    /// In words, for people.
    pub text: String,
    /// What it has printed last.
    pub last_lines: Vec<String>,
}

#[derive(Debug, Default)]
pub struct Registry {
    entries: ArcSwap<Vec<Entry>>,
    /// When the delay of the shutdown is over, once that has begun.
    served_until: OnceLock<Instant>,
    draining: AtomicBool,
    succeeded: AtomicBool,
    /// Zero when there is none.
    successor: AtomicU32,
    stop_asked: AtomicBool,
    pub maintenance: Maintenance,
    range: OnceLock<WorkerRange>,
}

impl Registry {
    /// Supervisor only.
    pub fn publish(&self, mut entries: Vec<Entry>) {
        let before = self.entries.load();
        for (index, entry) in entries.iter_mut().enumerate() {
            // Mostly it is where it was.
            let same = before.get(index).filter(|before| before.is_still(entry));
            if let Some(same) = same.or_else(|| before.iter().find(|before| before.is_still(entry))) {
                entry.since = same.since;
            }
        }
        self.entries.store(Arc::new(entries));
    }

    /// Supervisor only: the load chooses the number of workers, from `min` to `max`.
    pub fn set_range(&self, min: usize, max: usize) {
        // It is set once, before anybody reads it.
        let _ = self.range.set(WorkerRange { min, max });
    }

    /// The numbers of workers that the load chooses from, where it does.
    pub fn range(&self) -> Option<WorkerRange> {
        self.range.get().copied()
    }

    /// The cluster is going away: health says so from now on.
    pub fn set_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Another process has taken over, and this one finishes what it has: for health the
    /// service goes on.
    pub fn set_succeeded(&self) {
        self.succeeded.store(true, Ordering::SeqCst);
        self.set_draining();
    }

    /// The process that is about to succeed this one, or has ([`Self::is_succeeded`]).
    pub fn set_successor(&self, pid: Option<u32>) {
        self.successor.store(pid.unwrap_or_default(), Ordering::SeqCst);
    }

    pub fn successor(&self) -> Option<u32> {
        Some(self.successor.load(Ordering::SeqCst)).filter(|&pid| pid != 0)
    }

    pub fn is_succeeded(&self) -> bool {
        self.succeeded.load(Ordering::SeqCst)
    }

    /// An operator has asked for the end of the service, whichever process it is of.
    pub fn ask_stop(&self) {
        self.stop_asked.store(true, Ordering::SeqCst);
    }

    pub fn is_stop_asked(&self) -> bool {
        self.stop_asked.load(Ordering::SeqCst)
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// The cluster is going away, and serves as before until then; health says so from now on.
    pub fn set_leaving(&self, served_until: Instant) {
        // There is one shutdown.
        let _ = self.served_until.set(served_until);
    }

    /// Is the cluster going away, whether it still serves or not?
    #[inline]
    pub fn is_shutting_down(&self) -> bool {
        self.served_until.get().is_some() || self.is_draining()
    }

    /// Is the service going away, and not this process alone?
    pub fn is_service_ending(&self) -> bool {
        self.is_shutting_down() && !self.is_succeeded()
    }

    /// How far the shutdown has come, if there is one.
    pub fn shutdown(&self, now: Instant) -> Option<ShutdownPhase> {
        match self.served_until.get() {
            _ if self.is_draining() => Some(ShutdownPhase::Draining),
            Some(until) => {
                let seconds_left = until.saturating_duration_since(now).as_secs_f64();
                Some(ShutdownPhase::Delay { seconds_left })
            }
            None => None,
        }
    }

    pub fn worker_list(&self, now: Instant) -> WorkerList {
        let entries = self.entries.load();
        let usages = Usages::now(&entries);
        let of = |role| -> Vec<_> {
            let wanted = entries.iter().filter(|entry| entry.role == role);
            wanted.map(|entry| entry.status(now, usages.of(entry))).collect()
        };
        let workers = of(Role::Current);
        WorkerList {
            primary: PrimaryRef { pid: std::process::id() },
            count: workers.len(),
            workers,
            joining: of(Role::Candidate),
            leaving: of(Role::Retiring),
        }
    }

    pub fn entries(&self) -> Arc<Vec<Entry>> {
        self.entries.load_full()
    }

    pub fn health(&self) -> ClusterHealth {
        let entries = self.entries.load();
        let wanted = || entries.iter().filter(|entry| entry.role == Role::Current);
        let online = wanted().filter(|entry| entry.state == WorkerState::Online).count();
        let desired = wanted().count();
        let stores = || wanted().filter_map(|entry| entry.store.as_ref());
        let store = stores().find(|store| !store.reachable).or_else(|| stores().next()).cloned();
        let status = if online == 0 || self.is_service_ending() {
            ClusterStatus::Unavailable
        } else if online < desired || store.as_ref().is_some_and(|store| !store.reachable) {
            ClusterStatus::Degraded
        } else {
            ClusterStatus::Ok
        };
        ClusterHealth { status, workers: WorkerCounts { online, desired }, store }
    }
}

/// What workers use, a program with all that it has started.
pub struct Usages(Option<Processes>);

impl Usages {
    pub fn now(entries: &[Entry]) -> Self {
        Self(entries.iter().any(|entry| entry.shim.is_some()).then(Processes::now))
    }

    pub fn of(&self, entry: &Entry) -> Option<Usage> {
        match (&self.0, entry.shim) {
            (Some(processes), Some(shim)) => Some(processes.usage_below(shim)),
            _ => entry.pid.and_then(tree::usage),
        }
    }
}

impl Entry {
    /// The same process in the same state.
    fn is_still(&self, other: &Self) -> bool {
        (self.id, self.pid, self.state) == (other.id, other.pid, other.state)
    }

    /// What a process that drains still has.
    fn finishes(&self) -> Option<String> {
        let worker = self.worker.as_ref().filter(|_| self.state == WorkerState::Draining)?;
        let text = in_flight_text(worker.workload().requests, worker.long_lived())?;
        Some(format!("finishes {text}"))
    }

    fn status(&self, now: Instant, usage: Option<Usage>) -> WorkerStatus {
        let uptime = self.online_since.map(|since| now.saturating_duration_since(since));
        WorkerStatus {
            id: self.id,
            pid: self.pid,
            state: self.state,
            state_seconds: now.saturating_duration_since(self.since).as_secs_f64(),
            port: self.worker.as_ref().map(|worker| worker.address.port()),
            address: self.worker.as_ref().map(|worker| worker.address.to_string()),
            reason: self.reason.as_ref().map(|reason| reason.text.clone()).or_else(|| self.finishes()),
            last_lines: self.reason.as_ref().map(|reason| reason.last_lines.clone()).unwrap_or_default(),
            uptime: uptime.map(|uptime| format!("{:.2}s", uptime.as_secs_f64())),
            restarts: self.restarts,
            last_restart: self.last_reason.map(|reason| reason.to_string()),
            release: Some(self.release),
            requests: self.worker.as_ref().map_or(0, |worker| worker.requests()),
            in_flight: self.worker.as_ref().map_or(0, |worker| worker.in_hand()),
            rss: usage.map(|usage| megabytes(usage.resident)),
            cpu_seconds: usage.map(|usage| usage.cpu.as_secs_f64()),
        }
    }
}

#[cfg(test)]
mod tests {
    use shared_protocol::StoreKind;

    use super::*;

    fn entry(id: u32, state: WorkerState, reachable: bool) -> Entry {
        let store = Some(StoreHealth { backend: StoreKind::Redis, reachable, problem: None });
        Entry {
            id: WorkerId(id),
            role: Role::Current,
            state,
            since: Instant::now(),
            pid: None,
            shim: None,
            worker: None,
            online_since: None,
            restarts: 0,
            last_reason: None,
            release: ReleaseId::FIRST,
            store,
            reason: None,
        }
    }

    fn status(entries: Vec<Entry>) -> ClusterStatus {
        let registry = Registry::default();
        registry.publish(entries);
        registry.health().status
    }

    #[test]
    fn health_follows_the_slots_and_the_store() {
        use WorkerState::{Backoff, Online, Starting};
        assert_eq!(status(vec![]), ClusterStatus::Unavailable);
        assert_eq!(status(vec![entry(1, Starting, true)]), ClusterStatus::Unavailable);
        assert_eq!(status(vec![entry(1, Online, true)]), ClusterStatus::Ok);
        assert_eq!(status(vec![entry(1, Online, true), entry(2, Backoff, true)]), ClusterStatus::Degraded);
        assert_eq!(status(vec![entry(1, Online, true), entry(2, Online, false)]), ClusterStatus::Degraded);
    }

    #[test]
    fn a_state_lasts_until_it_changes() {
        let registry = Registry::default();
        let since = || registry.entries()[0].since;
        let later =
            |state| Entry { since: since() + std::time::Duration::from_secs(5), ..entry(1, state, true) };
        registry.publish(vec![entry(1, WorkerState::Starting, true)]);
        let first = since();
        registry.publish(vec![later(WorkerState::Starting)]);
        assert_eq!(since(), first);
        registry.publish(vec![later(WorkerState::Online)]);
        assert!(since() > first);
    }

    #[test]
    fn a_cluster_whose_shutdown_is_delayed_is_unavailable_and_does_not_drain() {
        let (registry, now) = (Registry::default(), Instant::now());
        registry.publish(vec![entry(1, WorkerState::Online, true)]);
        assert_eq!(registry.shutdown(now), None);
        registry.set_leaving(now + std::time::Duration::from_secs(5));
        assert_eq!(registry.health().status, ClusterStatus::Unavailable);
        assert!(registry.is_shutting_down() && !registry.is_draining());
        assert_eq!(registry.shutdown(now), Some(ShutdownPhase::Delay { seconds_left: 5.0 }));
        registry.set_draining();
        assert_eq!(registry.shutdown(now), Some(ShutdownPhase::Draining));
    }

    #[test]
    fn a_draining_cluster_is_unavailable() {
        let registry = Registry::default();
        registry.publish(vec![entry(1, WorkerState::Online, true)]);
        registry.set_draining();
        assert_eq!(registry.health().status, ClusterStatus::Unavailable);
        assert_eq!(registry.health().workers, WorkerCounts { online: 1, desired: 1 });
    }
}
