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
//! Pingora carries the connections (its [`ServerApp`], stream trait and connectors);
//! messages are read and written by [`crate::http1`], because every byte of a
//! head has to be checked anyway, and doing it once is what makes this path as
//! fast as a proxy in C. Everything of one client happens in one task: nothing
//! is handed between threads, and no lock is taken.

pub mod answer;
mod attempts;
mod budget;
mod buffer;
mod client;
mod connection;
mod download;
mod exchange;
pub mod finished;
pub mod headers;
mod neighbours;
mod noted;
pub mod origin;
pub mod policy;
pub mod rules;
pub mod sticky;
mod timer;
mod tunnel;
mod upload;
mod upstream;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use pingora::apps::ServerApp;
use pingora::connectors::TransportConnector;
use pingora::protocols::Stream;
use pingora::server::ShutdownWatch;

use crate::access_log::{AccessLog, Texts};
use crate::listener::Upkeep;
use crate::metrics::{Metrics, Traffic};
use crate::pool::Pool;
use crate::roster::Roster;
use answer::Answer;
use budget::Budget;
use finished::Finished;
use neighbours::Neighbours;
pub use rules::Rules;
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
    pub roster: Arc<Roster>,
    metrics: Arc<Metrics>,
    pub open: OpenRequests,
    pub rules: Rules,
    /// `/health` and `/cluster/workers` are answered here, and not by workers.
    pub own_routes: bool,
    /// Signs the cookies of [`Strategy::Sticky`](crate::pool::select::Strategy::Sticky).
    pub sticky: Option<Sticky>,
    pub access_log: AccessLog,
    neighbours: Neighbours,
    connector: TransportConnector,
    budget: Budget,
}

impl Proxy {
    pub fn new(
        pool: Arc<Pool>,
        roster: Arc<Roster>,
        metrics: Arc<Metrics>,
        open: OpenRequests,
        rules: Rules,
    ) -> Self {
        let connector = TransportConnector::new(None);
        let neighbours = Neighbours::new(rules.max_connections_per_ip);
        Self {
            pool,
            roster,
            metrics,
            open,
            rules,
            own_routes: true,
            sticky: None,
            access_log: AccessLog::default(),
            neighbours,
            connector,
            budget: Budget::default(),
        }
    }

    /// The answer, if it is the primary that gives it.
    pub fn local_answer(&self, method: &[u8], path: &[u8]) -> Option<Answer> {
        let (method, path) = (std::str::from_utf8(method).ok()?, std::str::from_utf8(path).ok()?);
        if self.own_routes { crate::answer::own(&self.roster, method, path) } else { None }
    }

    /// Every request ends here, once. `traffic` is that of the last worker asked,
    /// `texts` are for the access log, where there is one.
    fn finished(&self, traffic: Option<&Traffic>, finished: &Finished, texts: Option<Box<Texts>>) {
        traffic.unwrap_or(&self.metrics.primary).record(finished.status, finished.total);
        self.budget.deposit();
        if let Some(texts) = texts {
            self.access_log.note(finished.record(texts));
        }
        tracing::trace!(?finished, "request finished");
    }
}

impl Upkeep for Proxy {
    const EVERY: Duration = upstream::SWEEP;

    fn tidy(&self) {
        upstream::sweep(&self.pool);
    }

    fn end(&self) {
        upstream::clear();
    }
}

#[async_trait]
impl ServerApp for Proxy {
    async fn process_new(self: &Arc<Self>, io: Stream, _: &ShutdownWatch) -> Option<Stream> {
        connection::serve(self, io).await;
        None
    }
}
