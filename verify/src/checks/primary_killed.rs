//! No process and no port outlives a primary that is killed.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::context::Context;
use crate::fault::{gets, launch, launcher};
use crate::load::eventually;
use crate::proc;
use crate::verdict::{Judged, Verdict, seconds};

const LIMIT: Duration = Duration::from_secs(1);
/// Looked for so long, to tell "late" from "never".
const LATEST: Duration = Duration::from_secs(10);

pub async fn run(context: &Context) -> Judged {
    let mut cluster = launch(launcher(context)?, &[]).await?;
    let list = cluster.worker_list().await;
    let ports: Vec<u16> =
        list.iter().flat_map(|list| &list.workers).filter_map(|worker| worker.port).collect();
    let processes = cluster.remember();
    if processes.is_empty() {
        return Err(Verdict::inconclusive("the cluster's processes cannot be seen"));
    }
    // Busy processes must go, too.
    let traffic = gets(&cluster);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let began = Instant::now();
    cluster.signal(Signal::KILL);
    let dead = cluster.ended(LATEST).await;
    let left = proc::gone_within(&processes, LATEST).await;
    let orphans_gone = began.elapsed();
    // Or its connections would keep the ports busy.
    drop(traffic);
    let ports: Vec<u16> = ports.into_iter().chain([cluster.client.target().port]).collect();
    let taken = || ports.iter().copied().filter(|&port| !is_free(port)).collect::<Vec<_>>();
    let free = eventually(LATEST, || async { taken().is_empty().then_some(()) }).await;
    let took = began.elapsed();

    let mut wrong = Vec::new();
    if dead.is_none() {
        wrong.push("the primary did not die of SIGKILL".to_owned());
    }
    wrong.extend(left.iter().map(|pid| format!("pid {pid} lives on")));
    if free.is_none() {
        wrong.push(format!("ports {:?} are still taken", taken()));
    }
    if took > LIMIT {
        wrong.push(format!("it took {}, {} of it for the processes", seconds(took), seconds(orphans_gone)));
    }
    let figure = format!(
        "{} of {} processes and {} of {} ports left after {}",
        left.len(),
        processes.len(),
        if free.is_some() { 0 } else { taken().len() },
        ports.len(),
        seconds(took)
    );
    let threshold = format!("none after {}", seconds(LIMIT));
    Ok(Verdict::judge(wrong.is_empty(), figure, threshold, processes.len() + ports.len(), wrong))
}

/// Could a new cluster listen there (with `SO_REUSEADDR`, as the library does)?
fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}
