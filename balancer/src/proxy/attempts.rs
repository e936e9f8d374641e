//! One request until somebody has answered it: which worker is asked, and
//! another one when that fails and the request allows it.

use std::sync::Arc;
use std::time::Duration;

use shared::protocol::{Generation, WorkerId};
use tokio::time::Instant;

use super::Proxy;
use super::answer::Fault;
use super::client::Client;
use super::exchange::{Exchange, Job, Outcome};
use super::policy::{self, Failure, MAX_ATTEMPTS, Stage};
use super::upload::Upload;
use super::upstream::Upstream;
use crate::metrics::Traffic;
use crate::pool::Lease;

/// What became of a request.
pub(super) struct Report {
    pub(super) outcome: Outcome,
    /// The last one that was asked.
    pub(super) worker: Option<WorkerId>,
    /// Where its requests are counted.
    pub(super) traffic: Option<Arc<Traffic>>,
    pub(super) attempts: usize,
    /// From the first pick to the end.
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
pub(super) async fn run(proxy: &Proxy, job: &Job, client: &mut Client, upload: &mut Upload) -> Report {
    let start = Instant::now();
    let (mut tried, mut attempts, mut worker, mut traffic) = (Tried::new(), 0, None, None);
    // Whose kept connection had ended: the process may be well.
    let mut stale = None;
    let outcome = loop {
        let Some(lease) = pick(proxy, &mut tried, &mut stale).await else {
            break Outcome::Failed(Fault::NobodyReady);
        };
        attempts += 1;
        worker = Some(lease.id);
        traffic = Some(Arc::clone(&lease.traffic));
        let (outcome, reused) = attempt(proxy, job, client, upload, &lease, attempts == 1).await;
        let Outcome::Failed(fault) = &outcome else { break outcome };
        let failure = Failure {
            stage: if upload.has_begun() { Stage::Sent } else { Stage::Connecting },
            upstream: true,
            timed_out: matches!(fault, Fault::Slow | Fault::Unreachable { timed_out: true }),
            idempotent: job.idempotent && !matches!(fault, Fault::Malformed(_)),
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
    Report { outcome, worker, traffic, attempts, upstream: start.elapsed() }
}

async fn pick(proxy: &Proxy, tried: &mut Tried, stale: &mut Option<Generation>) -> Option<Lease> {
    let found = proxy.pool.pick(tried.as_slice());
    if found.is_some() {
        return found;
    }
    if let Some(generation) = stale.take() {
        tried.forgive(generation);
    }
    let patience =
        if tried.as_slice().is_empty() { policy::PATIENCE } else { policy::PATIENCE_AFTER_A_FAILURE };
    proxy.pool.pick_or_wait(tried.as_slice(), patience).await
}

/// Hands the request to the leased worker. Says also whether that was on a
/// connection that had been used before.
async fn attempt(
    proxy: &Proxy,
    job: &Job,
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
            Err(timed_out) => return (Outcome::Failed(Fault::Unreachable { timed_out }), false),
        },
    };
    let reused = upstream.reused;
    let exchange = Exchange { proxy, job, client, upload, worker: lease.id };
    (exchange.run(upstream).await, reused)
}
