//! A worker that hangs is replaced, and nobody waits for it for ever.

use std::time::{Duration, Instant};

use crate::context::Context;
use crate::fault::{collateral, crash, gets, launch, launcher, lost, recovery_limit, slowest, with_log};
use crate::verdict::{Judged, Verdict, seconds};

/// Probes of the private cluster: quicker than by default, to be short.
const INTERVAL: Duration = Duration::from_millis(500);
const TIMEOUT: Duration = Duration::from_secs(1);
const FALL: u32 = 3;
const KILL: Duration = Duration::from_secs(1);
/// For the requests that the hung process holds.
const HANG: Duration = Duration::from_secs(5);
const PROBES: [&str; 10] = [
    "--health-interval",
    "500ms",
    "--health-timeout",
    "1s",
    "--health-fall",
    "3",
    "--kill-timeout",
    "1s",
    "--hang-timeout",
    "5s",
];
const CALM: Duration = Duration::from_millis(300);

pub async fn run(context: &Context) -> Judged {
    let cluster = launch(launcher(context)?, &PROBES).await?;
    // Until the hung process is gone: FALL probes missed and the hang timeout over, then
    // SIGTERM in vain.
    let noticed = ((INTERVAL + TIMEOUT) * FALL).max(HANG + TIMEOUT) + KILL;
    let limit = noticed + recovery_limit(&cluster);
    // Looked for so long, to tell "late" from "never".
    let latest = 2 * limit;
    let before = cluster.workers().await;
    let traffic = gets(&cluster);
    tokio::time::sleep(CALM).await;
    let began = Instant::now();
    let victim = crash(&cluster, "hang").await?;
    let replacement = cluster.replaced(victim, latest).await;
    let took = began.elapsed();
    tokio::time::sleep(CALM).await;
    let sent = traffic.finish().await;
    let after = cluster.workers().await;

    let losses = lost(&sent);
    let mut wrong = losses.clone();
    let longest = slowest(&sent);
    match replacement {
        None => wrong.push(format!("{victim} was not replaced within {}", seconds(latest))),
        Some(_) if took > limit => wrong.push(format!("{victim} was replaced only after {}", seconds(took))),
        Some(_) if crate::proc::is_alive(victim.pid) => wrong.push(format!("{victim} is still alive")),
        Some(_) => {}
    }
    if longest > limit {
        wrong.push(format!("a request waited {}", seconds(longest)));
    }
    wrong.extend(collateral(&before, &after, &[victim]));
    let figure = match replacement {
        None => format!("{victim} hung and was never replaced; {} of {} GETs lost", losses.len(), sent.len()),
        Some(new) => format!(
            "{victim} became pid {} in {}; {} of {} GETs lost, the slowest took {}",
            new.pid,
            seconds(took),
            losses.len(),
            sent.len(),
            seconds(longest)
        ),
    };
    let threshold =
        format!("0 lost, replaced and no longer waited for within {}, other pids unchanged", seconds(limit));
    Ok(Verdict::judge(wrong.is_empty(), figure, threshold, sent.len(), with_log(wrong, &cluster)))
}
