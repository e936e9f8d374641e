//! Each worker may crash in turn, and no acknowledged increment is lost.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use shared_balance_stats::samples::to_reach_all;

use super::counter::{History, increment};
use super::shared_state::{path, write};
use crate::client::Request;
use crate::context::Context;
use crate::fault::{crash, launch, launcher, recovery_limit, with_log};
use crate::load::Traffic;
use crate::observe::WorkerProcess;
use crate::verdict::{Judged, Verdict, seconds};

const USERS: usize = 4;
/// For one worker; more are allowed to slots that crash again and again.
const LATEST: Duration = Duration::from_secs(10);

pub async fn run(context: &Context) -> Judged {
    let cluster = launch(launcher(context)?, &[]).await?;
    let all: BTreeSet<u32> = cluster.workers().await.iter().map(|who| who.id).collect();
    let limit = recovery_limit(&cluster);
    let key = context.fresh_key("crashes");
    cluster.client.send(write(&key, &json!(0))).await?;
    let counting = key.clone();
    let traffic = Traffic::start(&cluster.client, USERS, move || increment(&counting));
    let (mut crashed, mut crashes) = (BTreeSet::new(), 0);
    let mut wrong = Vec::new();
    let mut longest = Duration::ZERO;
    while crashed.len() < all.len() && crashes < to_reach_all(all.len()) && wrong.is_empty() {
        let began = std::time::Instant::now();
        let victim: WorkerProcess = crash(&cluster, if crashes % 2 == 0 { "exit" } else { "abort" }).await?;
        crashes += 1;
        let replaced = cluster.replaced(victim, LATEST).await;
        let took = began.elapsed();
        // Backoff is right for a slot that crashes again.
        if crashed.insert(victim.id) {
            longest = longest.max(took);
        }
        if replaced.is_none() {
            wrong.push(format!("{victim} was not replaced within {}", seconds(LATEST)));
        }
    }
    if longest > limit {
        wrong.push(format!("a first crash of a worker was made good only after {}", seconds(longest)));
    }
    let history = History::of(traffic.finish().await.into_iter().map(|sent| sent.outcome));
    let end = cluster.client.send(Request::get(path(&key))).await?;
    match end.json()["value"].as_i64() {
        Some(end) => wrong.extend(history.violations(end)),
        None => wrong.push(format!("the counter is gone: {}", end.quote())),
    }
    if crashed.len() < all.len() && wrong.is_empty() {
        let reason = format!("only {} of {} workers could be reached to crash", crashed.len(), all.len());
        return Err(Verdict::inconclusive(reason));
    }
    let figure = format!(
        "{crashes} crashes of {} workers, back within {}; {} of {} increments acknowledged, counter at {}{}",
        crashed.len(),
        seconds(longest),
        history.values.len(),
        history.attempted,
        end.json()["value"],
        wrong.first().map(|first| format!("; {first}")).unwrap_or_default()
    );
    let threshold = format!("back within {}; acknowledged ≤ counter ≤ attempted, none twice", seconds(limit));
    Ok(Verdict::judge(wrong.is_empty(), figure, threshold, history.attempted, with_log(wrong, &cluster)))
}
