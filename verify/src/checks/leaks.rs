//! Descriptors and memory are back to where they were after load.

use std::collections::BTreeMap;
use std::time::Duration;

use shared::protocol::megabytes;

use crate::client::Request;
use crate::context::Context;
use crate::load::{Connections, eventually, volley};
use crate::proc;
use crate::verdict::{Judged, Verdict};

/// Shares of the load; kept connections and fresh ones alternate.
const ROUNDS: usize = 4;
const REQUESTS_PER_ROUND: usize = 500;
const LANES: usize = 16;
/// Connections that are kept for a while on purpose are not leaks: one per lane,
/// and in a balancer one per lane to each worker.
fn descriptor_slack(processes: usize) -> usize {
    LANES * processes
}
const SETTLE: Duration = Duration::from_secs(5);
/// Caches may grow a little; a leak of 1 KiB per request of one worker would be
/// more than this for the fewest workers.
const MEMORY_SLACK: u64 = 4 * 1024 * 1024;
const MEMORY_GROWTH: f64 = 0.25;

#[derive(Debug, Clone, Copy)]
struct Usage {
    descriptors: Option<usize>,
    resident: u64,
}

pub async fn run(context: &Context) -> Judged {
    if !context.local {
        return Err(Verdict::not_applicable("the processes are not on this machine, or nobody names them"));
    }
    // The first load warms caches and pools up, the same as the ones that follow.
    load(context).await?;
    let before = usage(context).await;
    for _ in 1..ROUNDS {
        load(context).await?;
    }
    let mut wrong = faults(&before, &usage(context).await);
    if !wrong.is_empty() {
        let settled =
            eventually(SETTLE, || async { faults(&before, &usage(context).await).is_empty().then_some(()) });
        if settled.await.is_some() {
            wrong.clear();
        }
    }
    let after = usage(context).await;
    if before.is_empty() || !before.keys().eq(after.keys()) {
        return Err(Verdict::inconclusive("processes were replaced during the check"));
    }
    let samples = (ROUNDS - 1) * REQUESTS_PER_ROUND * 2;
    let most = |f: &dyn Fn(&Usage, &Usage) -> i64| {
        before.iter().filter_map(|(pid, old)| Some(f(old, after.get(pid)?))).max().unwrap_or(0)
    };
    let descriptors = most(&|old, new| match (old.descriptors, new.descriptors) {
        (Some(old), Some(new)) => new as i64 - old as i64,
        _ => 0,
    });
    let memory = most(&|old, new| new.resident as i64 - old.resident as i64);
    let figure = format!(
        "{} processes; at most {descriptors:+} descriptors and {:+.2} MB after {samples} requests",
        before.len(),
        memory as f64 / (1024.0 * 1024.0)
    );
    let threshold = format!(
        "+{} descriptors, + the greater of {} and {:.0} % of memory, each",
        descriptor_slack(before.len()),
        megabytes(MEMORY_SLACK),
        MEMORY_GROWTH * 100.0
    );
    Ok(Verdict::judge(wrong.is_empty(), figure, threshold, samples, wrong))
}

async fn load(context: &Context) -> Result<(), Verdict> {
    for connections in [Connections::Fresh, Connections::Kept] {
        let make = |index: usize| match index % 3 {
            0 => Request::get("/cluster/info"),
            1 => Request::get("/cluster/memory"),
            _ => Request::get("/cluster/shared-state/verify-no-such-key"),
        };
        for result in volley(&context.client, REQUESTS_PER_ROUND, LANES, connections, make).await {
            result?;
        }
    }
    Ok(())
}

/// Of all workers and of the primary, by pid.
async fn usage(context: &Context) -> BTreeMap<u32, Usage> {
    let list = context.roster().await;
    let workers = list.into_iter().flat_map(|list| list.workers).filter_map(|worker| worker.pid);
    workers
        .chain(context.primary)
        .filter_map(|pid| {
            Some((pid, Usage { descriptors: proc::descriptors(pid), resident: proc::resident(pid)? }))
        })
        .collect()
}

fn faults(before: &BTreeMap<u32, Usage>, after: &BTreeMap<u32, Usage>) -> Vec<String> {
    let mut faults = Vec::new();
    for (pid, old) in before {
        let Some(new) = after.get(pid) else { continue };
        if let (Some(old), Some(new)) = (old.descriptors, new.descriptors)
            && new > old + descriptor_slack(before.len())
        {
            faults.push(format!("pid {pid}: {new} descriptors are open, {old} were before"));
        }
        let slack = MEMORY_SLACK.max((old.resident as f64 * MEMORY_GROWTH) as u64);
        if new.resident > old.resident + slack {
            let (old, new) = (megabytes(old.resident), megabytes(new.resident));
            faults.push(format!("pid {pid}: {new} resident, {old} before"));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(old: (usize, u64), new: (usize, u64)) -> usize {
        let usage = |(descriptors, resident)| {
            BTreeMap::from([(7, Usage { descriptors: Some(descriptors), resident })])
        };
        faults(&usage(old), &usage(new)).len()
    }

    #[test]
    fn growth_beyond_the_slack_is_a_leak() {
        let mb = 1024 * 1024;
        assert_eq!(found((20, 10 * mb), (20 + descriptor_slack(1), 14 * mb)), 0);
        assert_eq!(found((20, 10 * mb), (21 + descriptor_slack(1), 10 * mb)), 1);
        assert_eq!(found((20, 10 * mb), (20, 15 * mb)), 1);
        assert_eq!(found((20, 100 * mb), (20, 124 * mb)), 0);
        assert_eq!(found((20, 100 * mb), (99, 126 * mb)), 2);
    }
}
