//! A crash loses no GET, and only that worker is replaced, at once.

use std::time::{Duration, Instant};

use shared_balance_stats::samples::rule_of_three;

use crate::context::Context;
use crate::fault::{collateral, crash, gets, launch, launcher, lost, recovery_limit, with_log};
use crate::verdict::{Judged, Verdict, percent, seconds};

/// Traffic before the crash, and after the recovery.
const CALM: Duration = Duration::from_millis(300);
/// A replacement that comes this late is still reported with its time.
const LATEST: Duration = Duration::from_secs(10);

pub async fn run(context: &Context) -> Judged {
    let cluster = launch(launcher(context)?, &[]).await?;
    let before = cluster.workers().await;
    let limit = recovery_limit(&cluster);
    let traffic = gets(&cluster);
    tokio::time::sleep(CALM).await;
    let began = Instant::now();
    let victim = crash(&cluster, "exit").await?;
    let replacement = cluster.replaced(victim, LATEST).await;
    let took = began.elapsed();
    tokio::time::sleep(CALM).await;
    let sent = traffic.finish().await;
    let after = cluster.workers().await;

    let losses = lost(&sent);
    let mut wrong = losses.clone();
    match replacement {
        None => wrong.push(format!("{victim} was not replaced within {}", seconds(LATEST))),
        Some(_) if took > limit => wrong.push(format!("{victim} was replaced only after {}", seconds(took))),
        Some(_) => {}
    }
    wrong.extend(collateral(&before, &after, &[victim]));
    let figure = match (&replacement, losses.len()) {
        (None, lost) => format!("{victim} was never replaced; {lost} of {} GETs lost", sent.len()),
        (Some(new), 0) => format!(
            "{victim} became pid {} in {}; 0 of {} GETs lost (below {} at 95 % confidence)",
            new.pid,
            seconds(took),
            sent.len(),
            percent(rule_of_three(sent.len()))
        ),
        (Some(new), lost) => format!(
            "{victim} became pid {} in {}; {lost} of {} GETs lost",
            new.pid,
            seconds(took),
            sent.len()
        ),
    };
    let threshold = format!("0 lost, replaced within {}, other pids unchanged", seconds(limit));
    Ok(Verdict::judge(wrong.is_empty(), figure, threshold, sent.len(), with_log(wrong, &cluster)))
}
