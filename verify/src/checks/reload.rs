//! Reloads replace every worker under traffic, and no request fails.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use shared_balance_stats::samples::rule_of_three;

use crate::client::Request;
use crate::cluster::Cluster;
use crate::cluster::operate::operate;
use crate::context::Context;
use crate::fault::{ENOUGH, launch, launcher, lost, many_gets, with_log};
use crate::load::Traffic;
use crate::proc;
use crate::verdict::{Judged, Verdict, percent, seconds};

const RELOADS: usize = 3;
/// However few requests there were.
const MOST_RELOADS: usize = 40;
/// For one reload: workers start one after another, and drain.
const LIMIT: Duration = Duration::from_secs(30);
/// Takes long enough to be in flight when its worker is to go.
const SLOW_N: u32 = 34;
const SLOW_USERS: usize = 2;
const CALM: Duration = Duration::from_millis(300);

pub async fn run(context: &Context) -> Judged {
    let launcher = launcher(context)?;
    let cluster = launch(launcher, &[]).await?;
    let (traffic, so_far) = many_gets(&cluster);
    let slow = Traffic::start(&cluster.client, SLOW_USERS, || {
        Request::post("/cluster/cpu-intensive", &json!({"n": SLOW_N}))
    });
    tokio::time::sleep(CALM).await;
    let (mut wrong, mut longest) = (Vec::new(), Duration::ZERO);
    // What is sent between two of them says nothing of either.
    let (mut turn, mut during) = (0, 0);
    while turn < RELOADS || (turn < MOST_RELOADS && during < ENOUGH && wrong.is_empty()) {
        turn += 1;
        let before = so_far.count();
        longest = longest.max(reload(launcher.program(), &cluster, turn, &mut wrong).await?);
        during += so_far.count() - before;
    }
    tokio::time::sleep(CALM).await;
    let mut sent = traffic.finish().await;
    let slow = slow.finish().await;
    let slow_count = slow.len();
    sent.extend(slow);
    let losses = lost(&sent);
    // What went wrong with the workers first: evidence is cut short.
    wrong.extend(losses.iter().cloned());
    let figure = format!(
        "{turn} reloads, {} at most; {} of {} requests failed, {during} of them meanwhile, {slow_count} slow{}",
        seconds(longest),
        losses.len(),
        sent.len(),
        match losses.len() {
            0 => format!(" (below {} at 95 % confidence)", percent(rule_of_three(during))),
            _ => String::new(),
        }
    );
    let threshold =
        format!("0 failed, all pids new, ids the same, old ones gone, each within {}", seconds(LIMIT));
    Ok(Verdict::judge(wrong.is_empty(), figure, threshold, sent.len(), with_log(wrong, &cluster)))
}

/// One reload; adds to `wrong`, and returns how long it took.
async fn reload(
    balancer: &Path,
    cluster: &Cluster,
    turn: usize,
    wrong: &mut Vec<String>,
) -> Result<Duration, Verdict> {
    let before = cluster.workers().await;
    let done = operate(balancer, cluster, &["reload", "--wait"], LIMIT).await?;
    if done.code != Some(0) {
        wrong.push(format!("reload {turn} ended with {:?}: {}", done.code, done.said));
    }
    let after = cluster.workers().await;
    let ids = |list: &[crate::observe::WorkerProcess]| list.iter().map(|who| who.id).collect::<Vec<_>>();
    if before.is_empty() || ids(&before) != ids(&after) {
        wrong.push(format!("reload {turn}: workers were {before:?} and are {after:?}"));
    }
    for old in &before {
        if after.iter().any(|new| new.pid == old.pid) {
            wrong.push(format!("reload {turn}: {old} was not replaced"));
        } else if proc::is_alive(old.pid) {
            wrong.push(format!("reload {turn}: {old} is still alive"));
        }
    }
    Ok(done.took)
}
