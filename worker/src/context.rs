//! What all routes of a process share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use actix_web::http::header::HeaderValue;
use shared_protocol::{StoreKind, WorkerRef};
use shared_store::StateStore;

use crate::budget::Budget;
use crate::cpu::ComputePool;
use crate::crash::Hang;
use crate::health::StoreWatch;
use crate::identity::Identity;

pub(crate) struct Context {
    pub(crate) identity: Identity,
    /// The worker's id, ready to be a header.
    pub(crate) id_header: HeaderValue,
    pub(crate) started: Instant,
    pub(crate) cpus: usize,
    /// Requests answered, health probes left out.
    requests: AtomicU64,
    /// Calls of `GET /cluster/local-state`.
    local_calls: AtomicU64,
    pub(crate) store: Arc<dyn StateStore>,
    pub(crate) store_watch: Arc<StoreWatch>,
    pub(crate) compute: ComputePool,
    pub(crate) fibonacci_max: u32,
    pub(crate) max_body: usize,
    /// Bodies that are held at the moment.
    pub(crate) bodies: Budget,
    pub(crate) crash_enabled: bool,
    pub(crate) hang: Arc<Hang>,
}

impl Context {
    pub(crate) fn new(
        identity: Identity,
        config: &crate::Config,
        store: Arc<dyn StateStore>,
        store_watch: Arc<StoreWatch>,
    ) -> std::io::Result<Self> {
        Ok(Self {
            identity,
            id_header: HeaderValue::from(identity.worker.id.0),
            started: Instant::now(),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            requests: AtomicU64::new(0),
            local_calls: AtomicU64::new(0),
            store,
            store_watch,
            compute: ComputePool::start(config.cpu_threads, config.cpu_queue)?,
            fibonacci_max: config.fibonacci_max,
            max_body: config.max_body,
            bodies: Budget::new(config.max_body),
            crash_enabled: config.crash_enabled,
            hang: Arc::new(Hang::default()),
        })
    }

    pub(crate) fn worker(&self) -> WorkerRef {
        self.identity.worker
    }

    pub(crate) fn count_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// The number of this call, from 1.
    pub(crate) fn count_local_call(&self) -> u64 {
        self.local_calls.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The store's name in messages.
    pub(crate) fn store_name(&self) -> &'static str {
        match self.store.kind() {
            StoreKind::Redis => "Redis",
            StoreKind::Embedded => "the embedded store",
        }
    }
}
