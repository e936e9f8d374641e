//! The request path: what the balancer answers itself, which worker gets a
//! request, and what happens when that worker fails.
//!
//! ```text
//! connection ─► client: next head ─► http1: is it one request, and which?
//!     │             └─ refused ─► answer
//!     └─► attempts: pick, retry (policy, budget)
//!             └─► exchange with one worker (upstream): upload ║ download, or tunnel
//! ```
//!
//! Pingora carries the connections (its stream trait and connectors);
//! messages are read and written by [`balancer_http1`], because every byte of a
//! head has to be checked anyway, and doing it once is what makes this path as
//! fast as a proxy in C. Everything of one client happens in one task: nothing
//! is handed between threads, and no lock is taken.

mod attempts;
mod budget;
mod buffer;
mod client;
mod connection;
mod download;
mod exchange;
pub mod headers;
pub mod limits;
pub mod listener;
mod neighbours;
mod noted;
pub mod origin;
pub mod policy;
mod responses;
pub mod sticky;
mod timer;
mod tunnel;
mod upload;
mod upstream;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use pingora::connectors::TransportConnector;
use pingora::protocols::Stream;

use crate::listener::Service;
use balancer_access_log::{AccessLog, LogFields, Record, RequestSummary};
use balancer_pool::Pool;
use balancer_pool::traffic::Traffic;
use balancer_state::counters::Counters;
use balancer_state::registry::Registry;
use balancer_state::response::Response;
use budget::Budget;
pub use limits::ProxyLimits;
use neighbours::Neighbours;
use sticky::Sticky;

/// Requests that the balancer is working on, from parsed header to last byte.
#[derive(Debug, Default, Clone)]
pub struct OpenRequests(Arc<AtomicU64>);

impl OpenRequests {
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    fn enter(&self) -> OpenRequest {
        self.0.fetch_add(1, Ordering::SeqCst);
        OpenRequest(Arc::clone(&self.0))
    }
}

#[derive(Debug)]
struct OpenRequest(Arc<AtomicU64>);

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What the request path reads; it writes nothing but counters.
pub struct Proxy {
    pub pool: Arc<Pool>,
    pub registry: Arc<Registry>,
    counters: Arc<Counters>,
    pub open: OpenRequests,
    pub limits: ProxyLimits,
    /// `/health` and `/cluster/workers` are answered here, and not by workers.
    pub own_routes: bool,
    /// Signs the cookies of [`Strategy::Sticky`](balancer_pool::select::Strategy::Sticky).
    pub sticky: Option<Sticky>,
    pub access_log: AccessLog,
    neighbours: Neighbours,
    connector: TransportConnector,
    budget: Budget,
}

impl Proxy {
    pub fn new(
        pool: Arc<Pool>,
        registry: Arc<Registry>,
        counters: Arc<Counters>,
        open: OpenRequests,
        limits: ProxyLimits,
    ) -> Self {
        let connector = TransportConnector::new(None);
        let neighbours = Neighbours::new(limits.max_connections_per_ip);
        Self {
            pool,
            registry,
            counters,
            open,
            limits,
            own_routes: true,
            sticky: None,
            access_log: AccessLog::default(),
            neighbours,
            connector,
            budget: Budget::default(),
        }
    }

    /// The answer, if it is the primary that gives it.
    pub fn local_answer(&self, method: &[u8], path: &[u8]) -> Option<Response> {
        let (method, path) = (std::str::from_utf8(method).ok()?, std::str::from_utf8(path).ok()?);
        if self.own_routes { balancer_state::response::own(&self.registry, method, path) } else { None }
    }

    /// Every request ends here, once. `traffic` is that of the last worker stats,
    /// `texts` are for the access log, where there is one.
    fn finished(&self, traffic: Option<&Traffic>, summary: RequestSummary, fields: Option<Box<LogFields>>) {
        traffic.unwrap_or(&self.counters.primary).record(summary.status, summary.total);
        self.budget.deposit();
        if let Some(fields) = fields {
            self.access_log.write(Record { fields, at: SystemTime::now(), summary });
        }
        tracing::trace!(?summary, "request finished");
    }
}

impl Service for Proxy {
    const MAINTENANCE_INTERVAL: Duration = upstream::SWEEP;

    async fn serve(&self, io: Stream) {
        connection::serve(self, io).await;
    }

    fn maintain(&self) {
        upstream::sweep(&self.pool);
    }

    fn end(&self) {
        upstream::clear();
    }
}
