//! What is written through one worker is read through every other.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use shared_balance_stats::samples::to_reach_all;

use crate::client::Request;
use crate::context::Context;
use crate::verdict::{Judged, Verdict};

/// Outlives the check, not the day, should its removal fail.
pub(super) const LIFE_SECONDS: u32 = 300;
/// A dispatcher that gives nothing new for so many times the workers is given up.
const PATIENCE: usize = 3;

pub async fn run(context: &Context) -> Judged {
    let workers = context.several()?;
    let key = context.fresh_key("shared");
    let result = read_through_all(context, workers, &key).await;
    // The value has a time to live, should this not arrive.
    let _ = context.client.send(Request::delete(path(&key))).await;
    result
}

pub(super) fn path(key: &str) -> String {
    format!("/cluster/shared-state/{key}")
}

pub(super) fn write(key: &str, value: &Value) -> Request {
    Request::post("/cluster/shared-state", &json!({"key": key, "value": value, "ttlSeconds": LIFE_SECONDS}))
}

async fn read_through_all(context: &Context, workers: usize, key: &str) -> Judged {
    let (mut pairs, mut requests) = (BTreeSet::new(), 0);
    let mut writers = BTreeSet::new();
    let mut fruitless = 0;
    while writers.len() < workers && fruitless < to_reach_all(workers) {
        // A value of its own, so that an old one is noticed.
        let value = json!({"text": "shared ☃", "number": fastrand::u32(..), "list": [1, 2.5, null, true]});
        let writer = context.ask(write(key, &value)).await?.who.id;
        requests += 1;
        if !writers.insert(writer) {
            fruitless += 1;
            continue;
        }
        let mut readers = BTreeSet::new();
        let mut since_new = 0;
        while readers.len() < workers && since_new < PATIENCE * to_reach_all(workers) {
            let read = context.ask(Request::get(path(key))).await;
            requests += 1;
            let reply = read.map_err(|failed| lost(failed, writer))?;
            if reply.body["value"] != value || reply.body["found"] != true {
                let figure = format!("written through worker {writer}, not read through {}", reply.who);
                let evidence = vec![format!("expected {value}"), reply.answer.quote()];
                return Ok(Verdict::failed(figure, "the value that was written last", evidence));
            }
            since_new = if readers.insert(reply.who.id) { 0 } else { since_new + 1 };
            pairs.insert((writer, reply.who.id));
        }
    }
    let all = workers * workers;
    if pairs.len() < all {
        let reason =
            format!("{} of {all} pairs of workers were reached; nothing is known of the rest", pairs.len());
        return Err(Verdict::inconclusive(reason));
    }
    let figure = format!("all of {} ordered pairs of workers", pairs.len());
    Ok(Verdict::judge(true, figure, "every pair reads what was written last", requests, Vec::new()))
}

/// A read that says 404 is a lost value, not a missing route: the write worked.
fn lost(mut failed: Verdict, writer: u32) -> Verdict {
    if failed.reason.is_some() {
        return Verdict::failed(
            format!("a value written through worker {writer} was not found"),
            "the value that was written last",
            failed.reason.into_iter().collect(),
        );
    }
    failed.evidence.push(format!("the value was written through worker {writer}"));
    failed
}
