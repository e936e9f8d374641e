//! A reload that cannot succeed says so and changes nothing.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use crate::cluster::Cluster;
use crate::cluster::operate::operate;
use crate::context::Context;
use crate::fault::{gets, launch, launcher, lost, with_log};
use crate::load::eventually;
use crate::proc;
use crate::verdict::{Judged, Verdict, seconds};

const LIMIT: Duration = Duration::from_secs(30);
/// For what was tried to be gone.
const GONE: Duration = Duration::from_secs(5);
const CALM: Duration = Duration::from_millis(300);
const BROKEN: &str = "#!/bin/sh\necho a broken release >&2\nexit 7\n";

pub async fn run(context: &Context) -> Judged {
    let launcher = launcher(context)?;
    let unable = |err: io::Error| Verdict::inconclusive(format!("could not copy the balancer: {err}"));
    // A copy, because a reload takes what lies where its executable was.
    let directory = tempfile::Builder::new().prefix("verify-").tempdir().map_err(unable)?;
    let copy = directory.path().join("balancer");
    let original = launcher.program().canonicalize().map_err(unable)?;
    fs::hard_link(&original, &copy).or_else(|_| fs::copy(&original, &copy).map(drop)).map_err(unable)?;
    let cluster = launch(&launcher.with_program(copy.clone()), &[]).await?;
    let before = cluster.workers().await;
    let processes = pids(&cluster);
    let traffic = gets(&cluster);
    tokio::time::sleep(CALM).await;
    install_broken(directory.path(), &copy).map_err(unable)?;
    let done = operate(launcher.program(), &cluster, &["reload"], LIMIT).await?;
    let mut wrong = Vec::new();
    if done.code == Some(0) {
        wrong.push("the reload says that it succeeded".to_owned());
    }
    let nothing_left = eventually(GONE, || async {
        let list = cluster.worker_list().await?;
        (list.joining.is_empty() && list.leaving.is_empty() && pids(&cluster) == processes).then_some(())
    })
    .await;
    if nothing_left.is_none() {
        wrong.push(format!("processes were {processes:?} and are {:?}", pids(&cluster)));
    }
    tokio::time::sleep(CALM).await;
    let after = cluster.workers().await;
    if before.is_empty() || before != after {
        wrong.push(format!("workers were {before:?} and are {after:?}"));
    }
    let sent = traffic.finish().await;
    let losses = lost(&sent);
    wrong.extend(losses.iter().cloned());
    let figure = format!(
        "the reload ended with {} after {}; {} of {} requests failed{}",
        done.code.map_or("a signal".to_owned(), |code| format!("exit code {code}")),
        seconds(done.took),
        losses.len(),
        sent.len(),
        wrong.first().map(|first| format!("; {first}")).unwrap_or_default()
    );
    let threshold = "not 0, none failed, pids unchanged, nothing left over";
    Ok(Verdict::judge(wrong.is_empty(), figure, threshold, sent.len(), with_log(wrong, &cluster)))
}

/// Puts it in place at once: the running file itself is not written to.
fn install_broken(directory: &Path, place: &Path) -> io::Result<()> {
    let next = directory.join("next");
    fs::write(&next, BROKEN)?;
    fs::set_permissions(&next, fs::Permissions::from_mode(0o755))?;
    fs::rename(&next, place)
}

fn pids(cluster: &Cluster) -> BTreeSet<u32> {
    proc::descendants(cluster.primary()).iter().map(|process| process.pid).collect()
}
