//! A value with a time to live is there before it, and gone after it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::json;

use super::shared_state::path;
use crate::client::Request;
use crate::context::Context;
use crate::observe::WorkerProcess;
use crate::verdict::{Judged, Verdict, seconds};

const LIFE: Duration = Duration::from_secs(1);
/// A read that ended so long before the end of life must have found it.
const MARGIN: Duration = Duration::from_millis(100);
/// How long after its life a value may still be seen.
const SLACK: Duration = Duration::from_secs(2);

pub async fn run(context: &Context) -> Judged {
    let key = context.fresh_key("expiry");
    let body = json!({"key": key, "value": "short-lived", "ttlSeconds": LIFE.as_secs()});
    let written = Instant::now();
    context.ask(Request::post("/cluster/shared-state", &body)).await?;
    let read = context.client.get(&path(&key)).await?;
    if read.status != 200 && read.ended + MARGIN < written + LIFE {
        let figure = format!("gone {} after it was written", seconds(read.ended - written));
        return Ok(Verdict::failed(figure, "a life of 1 s", vec![read.quote()]));
    }
    let early = read.status == 200;
    let gone = loop {
        let read = context.client.get(&path(&key)).await?;
        if read.status == 404 && read.json()["found"] == false {
            break read.ended - written;
        }
        if read.status != 200 {
            let evidence = vec![read.quote()];
            return Ok(Verdict::failed("an answer that is neither", "200, and 404 later", evidence));
        }
        if read.started > written + LIFE + SLACK {
            let figure = format!("still there {} after it was written", seconds(read.started - written));
            let threshold = format!("gone within {} after a life of 1 s", seconds(SLACK));
            return Ok(Verdict::failed(figure, threshold, vec![read.quote()]));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    if !early {
        return Err(Verdict::inconclusive("the machine is too slow: no read came before the value's end"));
    }
    if gone + MARGIN < LIFE {
        let figure = format!("gone after {}", seconds(gone));
        return Ok(Verdict::failed(figure, "a life of 1 s", Vec::new()));
    }
    gone_for_all(context, &key, gone).await
}

/// Is it gone through every worker?
async fn gone_for_all(context: &Context, key: &str, gone: Duration) -> Judged {
    let workers = context.several().unwrap_or(1);
    let mut seen = BTreeSet::new();
    let mut reads = 0;
    while seen.len() < workers && reads < shared_balance_stats::samples::to_reach_all(workers) {
        let read = context.client.get(&path(key)).await?;
        reads += 1;
        if read.status != 404 {
            let evidence = vec![read.quote()];
            return Ok(Verdict::failed("gone for one worker, not for another", "gone for all", evidence));
        }
        seen.extend(WorkerProcess::of(&read.json()).map(|who| who.id));
    }
    let figure =
        format!("there at once, gone after {}, for {} of {workers} workers", seconds(gone), seen.len());
    let threshold = "there before 1 s, gone for all within 3 s";
    if seen.len() < workers {
        return Err(Verdict::inconclusive(format!("only {} of {workers} workers were reached", seen.len())));
    }
    Ok(Verdict::judge(true, figure, threshold, reads + 2, Vec::new()))
}
