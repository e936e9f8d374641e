//! Each worker counts alone: memory is not shared.

use std::collections::{BTreeMap, BTreeSet};

use shared_balance_stats::samples::to_reach_all;

use crate::client::Request;
use crate::context::Context;
use crate::load::{Connections, send_many};
use crate::observe::WorkerProcess;
use crate::verdict::{Judged, Verdict};

const USERS: usize = 4;

pub async fn run(context: &Context) -> Judged {
    let workers = context.several()?;
    let samples = 2 * to_reach_all(workers);
    let before = context.requests().await;
    let make = |_| Request::get("/cluster/local-state");
    let results = send_many(&context.client, samples, USERS, Connections::Fresh, make).await;
    let after = context.requests().await;
    let mut counts: BTreeMap<WorkerProcess, Vec<u64>> = BTreeMap::new();
    for result in results {
        let reply = context.reply(result?)?;
        let Some(count) = reply.body["requestCount"].as_u64() else {
            let evidence = vec![reply.answer.quote()];
            return Ok(Verdict::failed("an answer without a count", "an integer requestCount", evidence));
        };
        counts.entry(reply.who).or_default().push(count);
    }
    if counts.len() < 2 {
        let reason = format!("only {} process answered {samples} requests", counts.len());
        return Err(Verdict::inconclusive(reason));
    }
    let others = match (before, after) {
        (Some(before), Some(after)) => after.saturating_sub(before).saturating_sub(samples as u64),
        _ => 0,
    };
    judge(counts, samples, others)
}

/// `others` requests of others came between, as far as is known.
fn judge(mut counts: BTreeMap<WorkerProcess, Vec<u64>>, samples: usize, others: u64) -> Judged {
    let mut wrong = Vec::new();
    let mut gaps = 0_u64;
    for (who, counts) in &mut counts {
        counts.sort_unstable();
        let (first, last) = (counts[0], counts[counts.len() - 1]);
        let distinct: BTreeSet<_> = counts.iter().collect();
        if distinct.len() < counts.len() {
            wrong.push(format!("{who} gave {} counts twice", counts.len() - distinct.len()));
        }
        // b+1 … b+n without a gap.
        let gap = (last - first).saturating_add(1).saturating_sub(distinct.len() as u64);
        gaps = gaps.saturating_add(gap);
        if gap > 0 {
            wrong.push(format!(
                "{who} answered {} times, but its counts go from {first} to {last}",
                counts.len()
            ));
        }
    }
    // Gaps are what one counter for all would show; so would other clients'
    // calls, but no more of them than there were.
    let explained = gaps > 0 && gaps <= others && !wrong.iter().any(|line| line.contains("twice"));
    if explained {
        let reason = format!("{others} requests of others came between; they may have been counted");
        return Err(Verdict::inconclusive(reason));
    }
    let figure = match wrong.first() {
        None => format!("{} processes each counted their own calls, without gap or repetition", counts.len()),
        Some(first) => first.clone(),
    };
    Ok(Verdict::judge(wrong.is_empty(), figure, "b+1 … b+n per process", samples, wrong))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Outcome;

    fn outcome(counts: &[(u32, &[u64])], others: u64) -> Outcome {
        let counts = counts
            .iter()
            .map(|&(id, counts)| (WorkerProcess { id, pid: 100 + id }, counts.to_vec()))
            .collect();
        judge(counts, 6, others).unwrap_or_else(|early| early).outcome
    }

    #[test]
    fn own_counters_have_neither_gap_nor_repetition() {
        assert_eq!(outcome(&[(1, &[3, 1, 2]), (2, &[8, 7])], 0), Outcome::Passed);
        assert_eq!(outcome(&[(1, &[1, 3, 5]), (2, &[2, 4, 6])], 0), Outcome::Failed);
        assert_eq!(outcome(&[(1, &[1, 2, 2]), (2, &[1, 2])], 99), Outcome::Failed);
        assert_eq!(outcome(&[(1, &[0, u64::MAX]), (2, &[0, u64::MAX])], 99), Outcome::Failed);
    }

    #[test]
    fn other_clients_may_explain_a_gap() {
        assert_eq!(outcome(&[(1, &[1, 2, 4]), (2, &[1, 2])], 1), Outcome::Inconclusive);
        assert_eq!(outcome(&[(1, &[1, 3, 5]), (2, &[2, 4, 6])], 1), Outcome::Failed);
    }
}
