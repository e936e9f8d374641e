//! The primary's list of workers agrees with who answers.

use std::collections::BTreeSet;

use shared_balance_stats::samples::to_reach_all;
use shared_protocol::{ClusterHealth, ClusterStatus, WorkerList, WorkerState};

use crate::client::Request;
use crate::context::Context;
use crate::load::{Connections, send_many};
use crate::observe::{Tally, WorkerProcess};
use crate::verdict::{Judged, Verdict};

pub async fn run(context: &Context) -> Judged {
    let workers = context.several()?;
    let answer = context.client.get("/cluster/workers").await?;
    context.routed(&answer)?;
    let Ok(before) = serde_json::from_slice::<WorkerList>(&answer.body) else {
        let evidence = vec![answer.quote()];
        return Ok(Verdict::failed("the list has not the form of one", "primary, workers, count", evidence));
    };
    let samples = to_reach_all(workers);
    let make = |_| Request::get("/cluster/info");
    let results = send_many(&context.client, samples, 4, Connections::Fresh, make).await;
    let seen: BTreeSet<WorkerProcess> = Tally::of(&results).by_process.into_keys().collect();
    let after = context.worker_list().await.unwrap_or_else(|| before.clone());
    let health = context.client.get("/health").await?;
    let mut wrong = faults(&before);
    let listed: BTreeSet<WorkerProcess> = [&before, &after].into_iter().flat_map(processes).collect();
    wrong.extend(seen.difference(&listed).map(|who| format!("{who} answered, but is not in the list")));
    let unseen: Vec<&WorkerProcess> = listed.difference(&seen).collect();
    wrong.extend(unseen.iter().map(|who| format!("{who} is in the list, but answered none of {samples}")));
    if before.count != workers {
        wrong.push(format!("{} workers are in the list, {workers} are expected", before.count));
    }
    wrong.extend(health_fault(&health.body, &before));
    let figure = match wrong.first() {
        None => format!("{} of {workers} workers online, and the same ones answer", seen.len()),
        Some(first) => first.clone(),
    };
    let mut evidence = wrong.clone();
    evidence.push(answer.quote());
    let threshold = "all online, ids 1…N, and the processes listed are those that answer";
    Ok(Verdict::judge(wrong.is_empty(), figure, threshold, samples, evidence))
}

fn processes(list: &WorkerList) -> impl Iterator<Item = WorkerProcess> {
    list.workers.iter().filter_map(|worker| Some(WorkerProcess { id: worker.id.0, pid: worker.pid? }))
}

fn faults(list: &WorkerList) -> Vec<String> {
    let mut faults = Vec::new();
    let ids: BTreeSet<u32> = list.workers.iter().map(|worker| worker.id.0).collect();
    let pids: BTreeSet<u32> = list.workers.iter().filter_map(|worker| worker.pid).collect();
    if list.count != list.workers.len() {
        faults.push(format!("count is {}, but there are {}", list.count, list.workers.len()));
    }
    if !ids.iter().copied().eq(1..=list.workers.len() as u32) {
        faults.push(format!("ids are {ids:?} instead of 1…{}", list.workers.len()));
    }
    if pids.contains(&list.primary.pid) {
        faults.push("the primary is among its workers".to_owned());
    }
    for worker in &list.workers {
        match (worker.state, worker.pid) {
            (WorkerState::Online, Some(_)) => {}
            (state, pid) => faults.push(format!("worker {} (pid {pid:?}) is {state}", worker.id)),
        }
    }
    if pids.len() < list.workers.iter().filter(|worker| worker.pid.is_some()).count() {
        faults.push("two workers have the same pid".to_owned());
    }
    faults
}

fn health_fault(body: &[u8], list: &WorkerList) -> Option<String> {
    let Ok(health) = serde_json::from_slice::<ClusterHealth>(body) else {
        return Some(format!("GET /health is not of the form: {}", String::from_utf8_lossy(body)));
    };
    let online = list.workers.iter().filter(|worker| worker.state == WorkerState::Online).count();
    let agrees = health.workers.online == online && health.workers.desired == list.count;
    let ok = health.status == ClusterStatus::Ok;
    (!agrees || !ok).then(|| format!("GET /health says {}", String::from_utf8_lossy(body)))
}
