//! What the request path reads. It writes nothing but counters and the access log.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pingora::connectors::TransportConnector;

use balancer_access_log::{AccessLog, LogFields, Record, RequestSummary};
use balancer_pool::Pool;
use balancer_pool::traffic::Traffic;
use balancer_state::counters::Counters;
use balancer_state::registry::Registry;
use balancer_state::response::Response;

use crate::affinity::AffinitySource;
use crate::buffer_memory::BufferMemory;
use crate::fault_log::FaultLog;
use crate::ip_limit::IpLimit;
use crate::limits::ProxyLimits;
use crate::open_requests::OpenRequests;
use crate::pages::ErrorPages;
use crate::proxy_protocol::RefusalLog;
use crate::responses;
use crate::retry_budget::RetryBudget;

/// The request path's configuration and its links to the rest of the program.
pub struct Proxy {
    /// `/health` and `/cluster/workers` are answered here, and not by workers.
    pub own_routes: bool,
    /// Where balancers in front ask how a program is, which is answered here once the cluster
    /// shuts down. With a query, only that very target.
    pub probe_target: Option<String>,
    /// Where they ask while it does not shut down; as `probe_target`.
    pub health_target: Option<String>,
    /// What leads requests to their workers, if the strategy asks for it.
    pub affinity: AffinitySource,
    pub access_log: AccessLog,
    /// One's own pages for errors of the balancer itself.
    pub error_pages: Arc<ErrorPages>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) open: OpenRequests,
    pub(crate) limits: ProxyLimits,
    pub(crate) ip_limit: IpLimit,
    pub(crate) buffer_memory: Arc<BufferMemory>,
    pub(crate) connector: TransportConnector,
    pub(crate) retry_budget: RetryBudget,
    pub(crate) fault_log: FaultLog,
    pub(crate) refusal_log: RefusalLog,
}

impl Proxy {
    pub fn new(
        pool: Arc<Pool>,
        registry: Arc<Registry>,
        counters: Arc<Counters>,
        open: OpenRequests,
        limits: ProxyLimits,
    ) -> Self {
        Self {
            own_routes: true,
            probe_target: None,
            health_target: None,
            affinity: AffinitySource::None,
            access_log: AccessLog::default(),
            error_pages: Arc::default(),
            buffer_memory: Arc::new(BufferMemory::new(limits.buffer_memory, Arc::clone(&counters))),
            pool,
            registry,
            counters,
            open,
            ip_limit: IpLimit::new(limits.max_connections_per_ip),
            limits,
            connector: TransportConnector::new(None),
            retry_budget: RetryBudget::default(),
            fault_log: FaultLog::default(),
            refusal_log: RefusalLog::default(),
        }
    }

    /// The primary's own response, if the route is its own.
    pub(crate) fn own_response(&self, method: &[u8], target: &[u8]) -> Option<Response> {
        let path = target.split(|&byte| byte == b'?').next().unwrap_or_default();
        if !self.own_routes {
            let is_unhealthy =
                self.registry.is_service_ending() && is_probe(&self.probe_target, method, target, path);
            return is_unhealthy.then(|| Response::json(503, &self.registry.health()));
        }
        let (method, path) = (std::str::from_utf8(method).ok()?, std::str::from_utf8(path).ok()?);
        balancer_state::response::own(&self.registry, method, path)
    }

    /// The response to a request for workers while there is maintenance. Balancers in front
    /// are let through to the workers: they are to go on sending their clients here, where
    /// these learn that there is maintenance.
    pub(crate) fn maintenance_response(&self, method: &[u8], target: &[u8]) -> Option<Response> {
        let retry_after = self.registry.maintenance.retry_after()?;
        let path = target.split(|&byte| byte == b'?').next().unwrap_or_default();
        (!is_probe(&self.health_target, method, target, path))
            .then(|| responses::for_maintenance(retry_after))
    }

    /// Counts and logs a finished request; called once for each. `traffic` is that of
    /// the last worker that got the request, if any did; `latency` is what counts as the time
    /// that the request took.
    pub(crate) fn record(
        &self,
        traffic: Option<&Traffic>,
        latency: Duration,
        summary: RequestSummary,
        fields: Option<Box<LogFields>>,
    ) {
        traffic.unwrap_or(&self.counters.primary).record(summary.status, latency);
        self.retry_budget.deposit();
        if let Some(fields) = fields {
            self.access_log.write(Record { fields, at: SystemTime::now(), summary });
        }
        tracing::trace!(?summary, "request finished");
    }
}

/// Does a balancer in front ask how the program is, where it is asked at `probe`? HAProxy does
/// so with OPTIONS unless it is told otherwise (its configuration manual, `option httpchk`).
fn is_probe(probe: &Option<String>, method: &[u8], target: &[u8], path: &[u8]) -> bool {
    let is_one = |probe: &str| [target, path].contains(&probe.as_bytes());
    matches!(method, b"GET" | b"HEAD" | b"OPTIONS") && probe.as_deref().is_some_and(is_one)
}
