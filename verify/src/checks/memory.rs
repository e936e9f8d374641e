//! The memory figures of every worker are sound.

use std::collections::BTreeMap;

use shared_balance_stats::samples::to_reach_all;
use shared_protocol::megabytes;

use crate::client::Request;
use crate::context::{Context, Reply};
use crate::observe::WorkerProcess;
use crate::proc;
use crate::verdict::{Judged, Verdict};

const FIGURES: [&str; 5] = ["rss", "peakRss", "virtual", "heapUsed", "heapTotal"];
/// Between the answer's figure and the system's a moment has passed.
const RSS_TOLERANCE: f64 = 0.25;
const RSS_SLACK: f64 = 4.0 * 1024.0 * 1024.0;

pub async fn run(context: &Context) -> Judged {
    let workers = context.several().unwrap_or(1);
    let mut seen: BTreeMap<WorkerProcess, u64> = BTreeMap::new();
    let mut wrong = Vec::new();
    let mut samples = 0;
    while samples < to_reach_all(workers) && seen.len() < workers {
        let reply = context.ask(Request::get("/cluster/memory")).await?;
        samples += 1;
        wrong.extend(faults(&reply, context.local));
        seen.insert(reply.who, reply.body["bytes"]["rss"].as_u64().unwrap_or_default());
    }
    if seen.len() < workers && wrong.is_empty() {
        return Err(Verdict::inconclusive(format!("only {} of {workers} workers were reached", seen.len())));
    }
    let total = megabytes(seen.values().fold(0, |sum: u64, bytes| sum.saturating_add(*bytes)));
    let figure = match wrong.first() {
        None => format!("{} workers, {total} resident together", seen.len()),
        Some(first) => first.clone(),
    };
    let system = if context.local { ", rss as the system has it" } else { "" };
    let threshold = format!("heap used ≤ total, rss ≤ peak and virtual, texts as integers{system}");
    Ok(Verdict::judge(wrong.is_empty(), figure, threshold, samples, wrong))
}

fn faults(reply: &Reply, local: bool) -> Vec<String> {
    let bytes = |name: &str| reply.body["bytes"][name].as_u64();
    let mut faults = Vec::new();
    for name in FIGURES {
        match (bytes(name), reply.body["memory"][name].as_str()) {
            (Some(bytes), Some(text)) if text == megabytes(bytes) && bytes > 0 => {}
            (bytes, text) => faults.push(format!("{}: {name} is {bytes:?} bytes and {text:?}", reply.who)),
        }
    }
    let at_most = |low: &str, high: &str| match (bytes(low), bytes(high)) {
        (Some(a), Some(b)) if a > b => Some(format!("{}: {low} {a} is above {high} {b}", reply.who)),
        _ => None,
    };
    faults.extend(at_most("heapUsed", "heapTotal"));
    faults.extend(at_most("rss", "peakRss"));
    faults.extend(at_most("rss", "virtual"));
    if bytes("rss").is_some() && bytes("rss") == bytes("heapUsed") {
        faults.push(format!("{}: the heap is the resident memory under another name", reply.who));
    }
    if let (true, Some(rss), Some(real)) = (local, bytes("rss"), proc::resident(reply.who.pid)) {
        let off = (rss as f64 - real as f64).abs();
        if off > f64::max(RSS_SLACK, RSS_TOLERANCE * real as f64) {
            faults.push(format!("{}: rss {rss}, but the system says {real}", reply.who));
        }
    }
    if !faults.is_empty() {
        faults.push(reply.answer.quote());
    }
    faults
}
