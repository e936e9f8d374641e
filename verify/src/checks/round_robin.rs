//! Requests one after another go to the workers in turn.

use crate::client::Request;
use crate::context::Context;
use crate::load::{Connections, volley};
use crate::observe::Tally;
use crate::verdict::{Judged, Verdict};

/// Turns of each kind; the extra request shows that a turn may be cut.
const TURNS: usize = 25;

pub async fn run(context: &Context) -> Judged {
    let workers = context.several()?;
    let samples = TURNS * workers + 1;
    let before = context.requests().await;
    let make = |_| Request::get("/cluster/info");
    let fresh = Tally::of(&volley(&context.client, samples, 1, Connections::Fresh, make).await);
    let kept = Tally::of(&volley(&context.client, samples, 1, Connections::Kept, make).await);
    let after = context.requests().await;
    let mut wrong = Vec::new();
    for (kind, tally) in [("on fresh connections", &fresh), ("on one connection", &kept)] {
        wrong.extend(tally.bad.iter().cloned());
        let counts = tally.counts(workers);
        let fair = TURNS as u64..=TURNS as u64 + 1;
        if !counts.iter().all(|count| fair.contains(count)) {
            wrong.push(format!("{kind}: {}", describe(&counts)));
            wrong.extend(tally.lines());
        }
    }
    // Strict turns can be judged only when nobody else takes any.
    let sent = 2 * samples as u64;
    if let (false, Some(before), Some(after)) = (wrong.is_empty(), before, after)
        && after.saturating_sub(before) > sent
    {
        let others = after - before - sent;
        return Err(Verdict::inconclusive(format!(
            "{others} requests of others came between ({}); turns cannot be judged",
            wrong[0]
        )));
    }
    let (least, most) = (TURNS, TURNS + 1);
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
