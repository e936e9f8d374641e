//! What the disruptive checks have in common: a private cluster of their own,
//! traffic while something happens to it, and what that cost.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::client::Request;
use crate::cluster::{Cluster, ClusterError, Launcher};
use crate::context::Context;
use crate::load::{self, Traffic};
use crate::observe::WorkerProcess;
use crate::verdict::Verdict;

/// Virtual users that send GET requests during a fault, half of them kept alive.
const USERS: usize = 4;
/// The same while an operator is at work, who may lose one in many.
const BUSY_USERS: usize = 16;
/// Requests before a change under traffic is over: one lost in 1,000 is missed by
/// 5,000 with a probability of 0.7 % (0.999^5000).
pub const ENOUGH: usize = 5000;
/// A replaced worker is online within this, if a whole cluster starts quickly.
const RECOVERY: Duration = Duration::from_secs(2);

/// The launcher that every disruptive check has.
///
/// # Errors
/// Inconclusive without `--spawn`, which the command line prevents.
pub fn launcher(context: &Context) -> Result<&Launcher, Verdict> {
    context.launcher.as_ref().ok_or_else(|| Verdict::inconclusive("it needs a private cluster: --spawn"))
}

pub async fn launch(launcher: &Launcher, arguments: &[&str]) -> Result<Cluster, Verdict> {
    launcher.launch(arguments).await.map_err(|err| not_started(&err))
}

pub fn not_started(err: &ClusterError) -> Verdict {
    Verdict::failed(err.to_string(), "a cluster that starts", Vec::new())
}

/// GET requests that must all be answered.
pub fn gets(cluster: &Cluster) -> Traffic {
    Traffic::start(&cluster.client, USERS, || Request::get("/cluster/info"))
}

/// GET requests that must all be answered, and how many were sent so far.
pub fn many_gets(cluster: &Cluster) -> (Traffic, Sent) {
    let sent = Sent::default();
    let counter = sent.clone();
    let traffic = Traffic::start(&cluster.client, BUSY_USERS, move || {
        counter.0.fetch_add(1, Ordering::Relaxed);
        Request::get("/cluster/info")
    });
    (traffic, sent)
}

/// Counts what a [`Traffic`] sends while it goes on.
#[derive(Debug, Clone, Default)]
pub struct Sent(Arc<AtomicUsize>);

impl Sent {
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// How long a worker may take to be back: two seconds, more where the whole
/// cluster took more than that to start.
pub fn recovery_limit(cluster: &Cluster) -> Duration {
    RECOVERY.max(cluster.startup)
}

/// Requests that were not answered with 200, in words.
pub fn lost(sent: &[load::Sent]) -> Vec<String> {
    sent.iter()
        .filter_map(|sent| match &sent.outcome {
            Ok(answer) if answer.status == 200 => None,
            Ok(answer) => Some(format!("lost: {}", answer.quote())),
            Err(err) => Some(format!("lost: {err}")),
        })
        .collect()
}

pub fn slowest(sent: &[load::Sent]) -> Duration {
    sent.iter().map(|sent| sent.took).max().unwrap_or_default()
}

/// Asks some worker to die or hang; returns which.
pub async fn crash(cluster: &Cluster, mode: &str) -> Result<WorkerProcess, Verdict> {
    let answer = cluster.client.post("/cluster/crash", &json!({"mode": mode})).await?;
    let body = answer.json();
    let number = |name: &str| body[name].as_u64().and_then(|n| u32::try_from(n).ok());
    match (answer.status.as_u16(), number("workerId"), number("pid")) {
        (200, Some(id), Some(pid)) => Ok(WorkerProcess { id, pid }),
        (403..=405, ..) => {
            Err(Verdict::inconclusive(format!("no worker can be crashed: {}", answer.quote())))
        }
        _ => {
            let evidence = vec![answer.quote()];
            Err(Verdict::failed("POST /cluster/crash was not obeyed", "200 with workerId and pid", evidence))
        }
    }
}

/// Were processes other than `victim` replaced?
pub fn collateral(
    before: &[WorkerProcess],
    after: &[WorkerProcess],
    victims: &[WorkerProcess],
) -> Vec<String> {
    let after: BTreeSet<&WorkerProcess> = after.iter().collect();
    before
        .iter()
        .filter(|who| !victims.contains(who) && !after.contains(who))
        .map(|who| format!("{who} was replaced as well"))
        .collect()
}

/// The last lines of the cluster's log, for evidence.
pub fn with_log(mut evidence: Vec<String>, cluster: &Cluster) -> Vec<String> {
    if !evidence.is_empty() {
        evidence.truncate(6);
        let log = cluster.log();
        evidence.extend(log[log.len().saturating_sub(5)..].iter().map(|line| format!("log: {line}")));
    }
    evidence
}
