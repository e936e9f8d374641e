//! One request until it is answered: it is handed to a worker, and to another one when
//! that worker fails and the request allows it.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::task::Poll;

use balancer_pool::{Lease, PickRequest};
use shared_protocol::{Generation, WorkerId};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::client::Http1Client;
use crate::context::RequestContext;
use crate::error::{ConnectError, ProxyError};
use crate::exchange::{CloseWatch, Exchange, Outcome};
use crate::fault::{self, Fault};
use crate::policy::{self, Failure, MAX_ATTEMPTS, Stage};
use crate::proxy::Proxy;
use crate::receive;
use crate::timer::{self, ThreadClock};
use crate::upload::Upload;
use crate::upstream::{Upstream, idle_pool};

/// The processes that have failed a request.
struct Excluded {
    generations: [Generation; MAX_ATTEMPTS],
    count: usize,
    /// The one whose idle connection had ended: the process itself may be well.
    stale: Option<Generation>,
}

impl Excluded {
    fn new() -> Self {
        Self { generations: [Generation(0); MAX_ATTEMPTS], count: 0, stale: None }
    }

    fn as_slice(&self) -> &[Generation] {
        &self.generations[..self.count]
    }

    fn add(&mut self, generation: Generation) {
        if let Some(free) = self.generations.get_mut(self.count) {
            *free = generation;
            self.count += 1;
        }
    }

    /// Allows the process again whose idle connection had ended.
    fn readmit_stale(&mut self) {
        let Some(generation) = self.stale.take() else { return };
        if let Some(index) = self.as_slice().iter().position(|&excluded| excluded == generation) {
            self.count -= 1;
            self.generations.swap(index, self.count);
        }
    }
}

/// How an attempt ended.
struct Attempt {
    outcome: Outcome,
    /// It was on a connection that had carried a request before.
    is_reused: bool,
}

/// An attempt that was followed by another one.
struct FailedAttempt {
    error: ProxyError,
    /// Where the worker listens.
    address: SocketAddr,
}

impl FailedAttempt {
    /// Has the worker ended, as far as can be seen? The kernel takes connections for one
    /// that lives, whatever it does with them, and ends those of one that is being killed.
    async fn is_of_dead_worker(&self) -> bool {
        if !matches!(self.error, ProxyError::WorkerClosed | ProxyError::WorkerReset(_)) {
            return true;
        }
        let refuses = async {
            for _ in 0..policy::ALIVE_CHECKS {
                let Ok(mut stream) = TcpStream::connect(self.address).await else { return true };
                let _ = stream.read(&mut [0]).await;
            }
            false
        };
        timer::timeout(policy::ALIVE_CHECK, refuses).await.unwrap_or(false)
    }
}

/// Has the request carried out by a worker.
pub(crate) async fn run(
    proxy: &Proxy,
    context: &mut RequestContext,
    client: &mut Http1Client,
    upload: &mut Upload,
) -> Outcome {
    if let Err(outcome) = receive::receive(proxy, context, client, upload).await {
        context.received = upload.received();
        return outcome;
    }
    let mut excluded = Excluded::new();
    let (mut failed, mut sent, mut sent_to) = (None, 0, None);
    let outcome = loop {
        let lease = match pick(proxy, context, client, &mut excluded, failed.as_ref()).await {
            Ok(lease) => lease,
            Err(outcome) => break more_telling(failed, outcome),
        };
        context.upstream.begin_attempt(&lease);
        let (worker, generation, address) = ((lease.id, lease.pid), lease.generation, lease.address);
        let Attempt { outcome, is_reused } = attempt(proxy, context, client, upload, lease).await;
        let Outcome::Failed(error) = outcome else {
            report_truncation(proxy, context, worker, &outcome);
            break outcome;
        };
        let attempts = context.upstream.attempts;
        tracing::debug!(worker = worker.0.0, attempts, %error, "an attempt failed");
        // The process whose idle connection had ended may have been asked again.
        if upload.has_begun() && sent_to.replace(generation) != Some(generation) {
            sent += 1;
        }
        let failure = failure(&error, context, upload, sent);
        let retries = policy::may_retry(failure) && proxy.retry_budget.withdraw();
        // A worker may close an idle connection at any time: that is no fault of it.
        if !(retries && is_reused && fault::may_be_of_idle_connection(&error)) {
            report_failure(proxy, context, worker, &error);
        }
        if !retries {
            break Outcome::Failed(error);
        }
        failed = Some(FailedAttempt { error, address });
        excluded.add(generation);
        excluded.stale = is_reused.then_some(generation);
        upload.rewind();
    };
    context.upstream.end();
    context.received = upload.received();
    outcome
}

/// How a request ends that gets no further worker: what the last one did says more than
/// that no other one is ready.
fn more_telling(failed: Option<FailedAttempt>, outcome: Outcome) -> Outcome {
    match (failed, outcome) {
        (Some(failed), Outcome::Failed(ProxyError::NoWorkerReady)) => Outcome::Failed(failed.error),
        (_, outcome) => outcome,
    }
}

/// Counts and says the fault of `worker` (id and pid) in a failed attempt.
fn report_failure(proxy: &Proxy, context: &RequestContext, worker: (WorkerId, u32), error: &ProxyError) {
    if let Some(Fault::Worker(fault)) = fault::of_failure(error) {
        proxy.counters.worker_fault(worker.0, fault);
        proxy.fault_log.worker_failed(worker, fault, context.name(), error);
    }
}

/// Counts and says the fault of `worker` (id and pid) if it truncated the response.
fn report_truncation(proxy: &Proxy, context: &RequestContext, worker: (WorkerId, u32), outcome: &Outcome) {
    if let Outcome::Truncated { error, .. } = outcome
        && let Some(fault) = fault::of_truncation(error)
    {
        proxy.counters.worker_fault(worker.0, fault);
        proxy.fault_log.worker_failed(worker, fault, context.name(), error);
    }
}

/// What the retry policy asks about an attempt that failed with `error`.
fn failure(error: &ProxyError, context: &RequestContext, upload: &Upload, sent: usize) -> Failure {
    Failure {
        stage: if upload.has_begun() { Stage::Sent } else { Stage::Connecting },
        timed_out: matches!(
            error,
            ProxyError::ResponseTimeout(_)
                | ProxyError::DrainTimeout
                | ProxyError::Connect(ConnectError::Timeout(_))
        ),
        idempotent: context.is_idempotent && !matches!(error, ProxyError::InvalidResponse(_)),
        replayable: upload.is_replayable(),
        attempts: context.upstream.attempts,
        sent,
    }
}

async fn pick(
    proxy: &Proxy,
    context: &RequestContext,
    client: &mut Http1Client,
    excluded: &mut Excluded,
    failed: Option<&FailedAttempt>,
) -> Result<Lease, Outcome> {
    let affinity = context.affinity;
    let max_tunnels = if context.upgrades { proxy.limits.max_tunnels } else { None };
    let request = PickRequest { excluded: excluded.as_slice(), affinity, max_tunnels };
    // Nothing is repeated for a client that has gone meanwhile.
    if failed.is_some() && poll_fn(|cx| Poll::Ready(client.poll_closed(cx).is_ready())).await {
        return Err(Outcome::ClientClosed);
    }
    if let Some(lease) = proxy.pool.pick(request) {
        return Ok(lease);
    }
    excluded.readmit_stale();
    let excluded = excluded.as_slice();
    let wait = match failed {
        Some(failed) if !excluded.is_empty() => {
            let is_dead = Box::pin(failed.is_of_dead_worker()).await;
            if is_dead { policy::WAIT_AFTER_FAILURE } else { policy::WAIT_FOR_STARTS }
        }
        _ => policy::WAIT,
    };
    // Boxed: seldom needed, and large beside all else that a request keeps.
    let request = PickRequest { excluded, affinity, max_tunnels };
    let mut waiting = Box::pin(proxy.pool.pick_or_wait(request, wait, &ThreadClock));
    poll_fn(|cx| {
        if client.poll_closed(cx).is_ready() {
            return Poll::Ready(Err(Outcome::ClientClosed));
        }
        if let Poll::Ready(picked) = waiting.as_mut().poll(cx) {
            return Poll::Ready(picked.map_err(|error| Outcome::Failed(error.into())));
        }
        // With half-close: most such clients have given up, and others wait for the room.
        if client.has_ended && proxy.pool.has_concurrency_limit() {
            return Poll::Ready(Err(Outcome::Failed(ProxyError::ClientHalfClosed)));
        }
        Poll::Pending
    })
    .await
}

/// Hands the request to the leased worker.
async fn attempt(
    proxy: &Proxy,
    context: &mut RequestContext,
    client: &mut Http1Client,
    upload: &mut Upload,
    lease: Lease,
) -> Attempt {
    // A retry does not trust a second idle connection, and what may not be sent again trusts
    // one only so soon after its last use that the worker cannot be closing it.
    let is_first = context.upstream.attempts == 1;
    let is_repeatable = context.is_idempotent && upload.will_be_replayable();
    let idle_time = if is_repeatable { idle_pool::IDLE_TIMEOUT } else { policy::RECENT };
    let idle = if is_first { Upstream::idle(lease.generation, idle_time) } else { None };
    let upstream = match idle {
        Some(upstream) => upstream,
        None => match Upstream::connect(&proxy.connector, lease.generation, lease.address).await {
            Ok(upstream) => upstream,
            Err(error) => return Attempt { outcome: Outcome::Failed(error.into()), is_reused: false },
        },
    };
    let is_reused = upstream.is_reused;
    let close = CloseWatch::default();
    let exchange = Exchange { proxy, context, client, upload, lease, close };
    Attempt { outcome: exchange.run(upstream).await, is_reused }
}
