//! The number of workers changes under traffic, and no request fails.

use std::collections::BTreeSet;
use std::time::Duration;

use shared_balance_stats::samples::to_reach_all;
use shared_protocol::WorkerState;

use crate::client::Request;
use crate::cluster::Cluster;
use crate::cluster::operate::operate;
use crate::context::Context;
use crate::fault::{ENOUGH, launch, launcher, lost, many_gets, with_log};
use crate::load::{Connections, send_many};
use crate::observe::{Tally, WorkerProcess};
use crate::verdict::{Judged, Verdict, seconds};

/// Workers more than at first.
const MORE: u32 = 2;
/// Rounds through all steps.
const ROUNDS: usize = 2;
/// However few requests there were.
const MOST_ROUNDS: usize = 20;
const LIMIT: Duration = Duration::from_secs(30);
const CALM: Duration = Duration::from_millis(300);

pub async fn run(context: &Context) -> Judged {
    let launcher = launcher(context)?;
    let cluster = launch(launcher, &[]).await?;
    let first = launcher.workers;
    let steps = [first + MORE, first.saturating_sub(1).max(1), first];
    let (traffic, so_far) = many_gets(&cluster);
    tokio::time::sleep(CALM).await;
    let (mut wrong, mut longest) = (Vec::new(), Duration::ZERO);
    let before = so_far.count();
    let mut round = 0;
    while round < ROUNDS || (round < MOST_ROUNDS && so_far.count() - before < ENOUGH && wrong.is_empty()) {
        round += 1;
        for count in steps {
            let done = operate(launcher.program(), &cluster, &["scale", &count.to_string()], LIMIT).await?;
            longest = longest.max(done.took);
            if done.code != Some(0) {
                wrong.push(format!("scale {count} ended with {:?}: {}", done.code, done.said));
            }
            wrong.extend(differences(&cluster, count).await);
        }
    }
    tokio::time::sleep(CALM).await;
    let sent = traffic.finish().await;
    let losses = lost(&sent);
    wrong.extend(losses.iter().cloned());
    let figure = format!(
        "{round} times {first} → {} workers, each within {}; {} of {} requests failed{}",
        steps.map(|count| count.to_string()).join(" → "),
        seconds(longest),
        losses.len(),
        sent.len(),
        wrong.first().map(|first| format!("; {first}")).unwrap_or_default()
    );
    let threshold =
        format!("0 failed, each time exactly so many online, and they answer, within {}", seconds(LIMIT));
    Ok(Verdict::judge(wrong.is_empty(), figure, threshold, sent.len(), with_log(wrong, &cluster)))
}

/// Between `count` workers and what the list says and who answers.
async fn differences(cluster: &Cluster, count: u32) -> Vec<String> {
    let Some(list) = cluster.worker_list().await else {
        return vec![format!("no list of workers after scale {count}")];
    };
    let mut wrong = Vec::new();
    let ids: Vec<u32> = list.workers.iter().map(|worker| worker.id.0).collect();
    let online = list.workers.iter().all(|worker| worker.state == WorkerState::Online);
    if !online || !ids.iter().copied().eq(1..=count) {
        wrong.push(format!("scale {count}: workers {ids:?} are listed, all online: {online}"));
    }
    let listed: BTreeSet<WorkerProcess> = cluster.workers().await.into_iter().collect();
    let samples = to_reach_all(count as usize);
    let make = |_| Request::get("/cluster/info");
    let tally = Tally::of(&send_many(&cluster.client, samples, 4, Connections::Fresh, make).await);
    let seen: BTreeSet<WorkerProcess> = tally.by_process.keys().copied().collect();
    wrong.extend(tally.bad);
    wrong.extend(
        listed.difference(&seen).map(|who| format!("scale {count}: {who} answered none of {samples}")),
    );
    wrong.extend(
        seen.difference(&listed).map(|who| format!("scale {count}: {who} answered, but is not listed")),
    );
    wrong
}
