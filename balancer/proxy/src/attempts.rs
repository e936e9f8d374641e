//! One request until somebody has answered it: which worker is stats, and
//! another one when that fails and the request allows it.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use shared_protocol::{Generation, WorkerId};
use tokio::time::Instant;

use super::Proxy;
use super::client::Client;
use super::exchange::{Exchange, Outcome, RequestContext};
use super::policy::{self, Failure, MAX_ATTEMPTS, Stage};
use super::responses::ProxyError;
use super::upload::Upload;
use super::upstream::Upstream;
use balancer_pool::traffic::Traffic;
use balancer_pool::{Lease, PickError, PickRequest};

/// What became of a request.
pub(super) struct Report {
    pub(super) outcome: Outcome,
    /// The last one that was stats.
    pub(super) worker: Option<WorkerId>,
    /// Where its requests are counted.
    pub(super) traffic: Option<Arc<Traffic>>,
    pub(super) attempts: usize,
    /// From the first worker found to the end: waiting for one does not count.
    pub(super) upstream: Duration,
}

/// The workers that have failed this request.
struct Tried {
    generations: [Generation; MAX_ATTEMPTS],
    count: usize,
}

impl Tried {
    fn new() -> Self {
        Self { generations: [Generation(0); MAX_ATTEMPTS], count: 0 }
    }

    fn as_slice(&self) -> &[Generation] {
        &self.generations[..self.count]
    }

    fn add(&mut self, generation: Generation) {
        if let Some(place) = self.generations.get_mut(self.count) {
            *place = generation;
            self.count += 1;
        }
    }

    fn forgive(&mut self, generation: Generation) {
        if let Some(index) = self.as_slice().iter().position(|&tried| tried == generation) {
            self.count -= 1;
            self.generations.swap(index, self.count);
        }
    }
}

/// Has the request carried out by a worker.
pub(super) async fn run(
    proxy: &Proxy,
    context: &RequestContext,
    client: &mut Client,
    upload: &mut Upload,
) -> Report {
    let mut start = None;
    let (mut tried, mut attempts, mut worker, mut traffic) = (Tried::new(), 0, None, None);
    // Whose kept connection had ended: the process may be well.
    let mut stale = None;
    let outcome = loop {
        let lease = match pick(proxy, context, client, &mut tried, &mut stale).await {
            Ok(lease) => lease,
            Err(outcome) => break outcome,
        };
        start.get_or_insert_with(Instant::now);
        attempts += 1;
        worker = Some(lease.id);
        traffic = Some(Arc::clone(&lease.traffic));
        let (outcome, reused) = attempt(proxy, context, client, upload, &lease, attempts == 1).await;
        let Outcome::Failed(fault) = &outcome else { break outcome };
        let failure = Failure {
            stage: if upload.has_begun() { Stage::Sent } else { Stage::Connecting },
            upstream: true,
            timed_out: matches!(fault, ProxyError::Slow | ProxyError::Unreachable { timed_out: true }),
            idempotent: context.idempotent && !matches!(fault, ProxyError::Malformed(_)),
            replayable: upload.is_replayable(),
            attempts,
        };
        tracing::debug!(worker = lease.id.0, attempts, ?fault, "an attempt failed");
        if !policy::may_retry(failure) || !proxy.budget.withdraw() {
            break outcome;
        }
        tried.add(lease.generation);
        stale = reused.then_some(lease.generation);
        upload.rewind();
    };
    Report {
        outcome,
        worker,
        traffic,
        attempts,
        upstream: start.map_or(Duration::ZERO, |start| start.elapsed()),
    }
}

async fn pick(
    proxy: &Proxy,
    context: &RequestContext,
    client: &mut Client,
    tried: &mut Tried,
    stale: &mut Option<Generation>,
) -> Result<Lease, Outcome> {
    if let Some(lease) =
        proxy.pool.pick(PickRequest { excluded: tried.as_slice(), affinity: context.bound_to })
    {
        return Ok(lease);
    }
    if let Some(generation) = stale.take() {
        tried.forgive(generation);
    }
    let wait = if tried.as_slice().is_empty() { policy::WAIT } else { policy::WAIT_AFTER_FAILURE };
    let request = PickRequest { excluded: tried.as_slice(), affinity: context.bound_to };
    // Boxed: seldom needed, and large beside all else that a request keeps.
    let mut waiting = Box::pin(proxy.pool.pick_or_wait(request, wait));
    poll_fn(|cx| {
        if let Poll::Ready(found) = waiting.as_mut().poll(cx) {
            return Poll::Ready(found.map_err(|error| {
                Outcome::Failed(match error {
                    PickError::NoWorkerReady => ProxyError::NobodyReady,
                    PickError::QueueFull => ProxyError::QueueFull,
                    PickError::QueueTimeout(timeout) => ProxyError::QueueTimeout(timeout),
                })
            }));
        }
        if client.poll_gone(cx).is_ready() {
            return Poll::Ready(Err(Outcome::Gone));
        }
        // Mostly somebody who has given up, and the others wait for the room.
        if client.has_ended && proxy.pool.has_concurrency_limit() {
            return Poll::Ready(Err(Outcome::Failed(ProxyError::Left)));
        }
        Poll::Pending
    })
    .await
}

/// Hands the request to the leased worker. Says also whether that was on a
/// connection that had been used before.
async fn attempt(
    proxy: &Proxy,
    context: &RequestContext,
    client: &mut Client,
    upload: &mut Upload,
    lease: &Lease,
    is_first: bool,
) -> (Outcome, bool) {
    // A retry does not trust a second kept connection.
    let kept = if is_first { Upstream::kept(lease.generation) } else { None };
    let upstream = match kept {
        Some(upstream) => upstream,
        None => match Upstream::connect(&proxy.connector, lease.generation, lease.address).await {
            Ok(upstream) => upstream,
            Err(timed_out) => return (Outcome::Failed(ProxyError::Unreachable { timed_out }), false),
        },
    };
    let reused = upstream.reused;
    let exchange = Exchange { proxy, context, client, upload, worker: lease.id };
    (exchange.run(upstream).await, reused)
}
