//! Requests one after another go to the workers in turn.

use shared_balance_stats::turns::{misplaced, share};

use crate::client::Request;
use crate::context::Context;
use crate::load::{Connections, send_many};
use crate::observe::Tally;
use crate::verdict::{Judged, Verdict};

/// Turns of each kind; the extra request shows that a turn may be cut.
const TURNS: usize = 25;

pub async fn run(context: &Context) -> Judged {
    let workers = context.several()?;
    let samples = TURNS * workers + 1;
    let before = context.requests().await;
    let make = |_| Request::get("/cluster/info");
    let fresh = Tally::of(&send_many(&context.client, samples, 1, Connections::Fresh, make).await);
    let kept = Tally::of(&send_many(&context.client, samples, 1, Connections::Kept, make).await);
    let after = context.requests().await;
    let (mut wrong, mut deviation) = (Vec::new(), 0);
    for (kind, tally) in [("on fresh connections", &fresh), ("on one connection", &kept)] {
        wrong.extend(tally.bad.iter().cloned());
        let counts = tally.counts(workers);
        let off = misplaced(&counts);
        if off > 0 {
            deviation += off;
            wrong.push(format!("{kind}: {}", describe(&counts)));
            wrong.extend(tally.lines());
        }
    }
    let others = match (before, after) {
        (Some(before), Some(after)) => after.saturating_sub(before).saturating_sub(2 * samples as u64),
        _ => 0,
    };
    // Each request of somebody else takes one turn away, and gives one.
    if deviation > 0 && deviation <= 2 * others && fresh.bad.is_empty() && kept.bad.is_empty() {
        return Err(Verdict::inconclusive(format!("{others} requests of others came between: {}", wrong[0])));
    }
    let (least, most) = share(samples as u64, workers).into_inner();
    let figure = match wrong.first() {
        None => format!("each of {workers} workers got {least} or {most} requests, of both kinds"),
        Some(first) => first.clone(),
    };
    let threshold = format!("{least} or {most} each, on fresh connections and on a kept one");
    Ok(Verdict::judge(wrong.is_empty(), figure, threshold, 2 * samples, wrong))
}

fn describe(counts: &[u64]) -> String {
    let (least, most) = (counts.iter().min().unwrap_or(&0), counts.iter().max().unwrap_or(&0));
    format!("between {least} and {most} requests per worker")
}
