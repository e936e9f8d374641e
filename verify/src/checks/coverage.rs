//! Every worker gets requests.

use shared_balance_stats::samples::to_reach_all;

use crate::client::Request;
use crate::context::{Context, Workers};
use crate::load::{Connections, send_many};
use crate::observe::Tally;
use crate::verdict::{Judged, Verdict};

const USERS: usize = 4;

pub async fn run(context: &Context) -> Judged {
    let workers = context.several()?;
    let samples = to_reach_all(workers);
    let make = |_| Request::get("/cluster/info");
    let results = send_many(&context.client, samples, USERS, Connections::Fresh, make).await;
    let tally = Tally::of(&results);
    let seen = tally.by_id();
    if let Workers::Seen(_) = context.workers {
        let reason = format!(
            "{} workers answered {samples} requests, but nobody says how many there are (tell with --workers)",
            seen.len()
        );
        return Err(Verdict::inconclusive(reason));
    }
    let mut evidence = tally.lines();
    evidence.extend(tally.bad);
    if let Some(list) = context.worker_list().await {
        let unseen = list.workers.iter().filter(|worker| !seen.contains_key(&worker.id.0));
        evidence.extend(unseen.map(|worker| {
            let pid = worker.pid.map_or("none".to_owned(), |pid| pid.to_string());
            format!("worker {} (pid {pid}, {}) got nothing", worker.id, worker.state)
        }));
    }
    Ok(Verdict::judge(
        seen.len() == workers,
        format!("{} of {workers} workers answered", seen.len()),
        "all; a fair dispatcher misses one with probability 10⁻⁶",
        samples,
        evidence,
    ))
}
