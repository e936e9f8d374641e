//! The subcommands that talk to a running cluster over its control socket.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use shared_http_client::Request;
use shared_protocol::{ReloadMode, Status, Upgrade};
use shared_settings::Settings;
use shared_telemetry::terminal;

use crate::cli::Action;
use crate::cluster::Cluster;
use crate::find::Target;
use crate::list;
use crate::logs;
use crate::maintenance;
use crate::peer::User;
use crate::render::{self, Style, print};
use crate::running::{self, Running};
use crate::watch;

/// Carries out `action`. What went wrong is the error.
///
/// # Errors
/// When no cluster could be reached, or it did not do what it was asked to.
pub fn run(action: &Action) -> anyhow::Result<ExitCode> {
    let (Action::Status { to, .. }
    | Action::Logs { to, .. }
    | Action::Reload { to, .. }
    | Action::Scale { to, .. }
    | Action::Maintenance { to, .. }
    | Action::Upgrade { to, .. }
    | Action::Stop { to }) = action;
    let target = Target::new(&Settings::load(to.flags.clone())?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match action {
            Action::Status { watch: true, .. } => {
                let cluster = target.connect().await?;
                let pinned = target.pinned(&cluster);
                watch::run(cluster, &pinned, to.json).await
            }
            Action::Status { all, .. } => status(&target, *all, to.json).await,
            Action::Logs { which, .. } => {
                let cluster = target.connect().await?;
                let pinned = target.pinned(&cluster);
                logs::run(cluster, &pinned, which, to.json).await
            }
            Action::Reload { wait, mode, .. } => {
                let request = Request::post_empty(path_to("/reload", *wait, *mode));
                target.connect().await?.change(request, to.json).await
            }
            Action::Scale { workers, wait, .. } => {
                let body = serde_json::to_value(workers)?;
                let request = Request::post(path_to("/scale", *wait, None), &body);
                target.connect().await?.change(request, to.json).await
            }
            Action::Maintenance { to_be, retry_after, .. } => {
                let cluster = target.connect().await?;
                maintenance::run(cluster, *to_be, *retry_after, to.json).await
            }
            Action::Upgrade { executable, arguments, .. } => {
                let upgrade = upgrade(executable.as_deref(), arguments.clone())?;
                let request = Request::post("/upgrade", &serde_json::to_value(upgrade)?);
                target.connect().await?.change(request, to.json).await
            }
            Action::Stop { .. } => target.connect().await?.stop(to.json).await,
        }
    })
}

/// Where a change is asked for, whether its end is waited for, and how it is to be made.
fn path_to(change: &str, wait: bool, mode: Option<ReloadMode>) -> String {
    let wait = wait.then(|| "wait=true".to_owned());
    let query: Vec<_> = wait.into_iter().chain(mode.map(|mode| format!("mode={mode}"))).collect();
    if query.is_empty() { change.to_owned() } else { format!("{change}?{}", query.join("&")) }
}

/// Paths are meant from here, and not from where the cluster was started.
fn upgrade(executable: Option<&Path>, arguments: Option<Vec<OsString>>) -> anyhow::Result<Upgrade> {
    let absolute =
        |path: &Path| std::path::absolute(path).with_context(|| format!("no executable {}", path.display()));
    let executable = executable.map(absolute).transpose()?;
    Ok(Upgrade {
        executable: executable.map(|path| path.into_os_string().into()),
        arguments: arguments.map(|words| words.into_iter().map(Into::into).collect()),
    })
}

/// Shows the cluster that is meant, or where nobody has said which, those that run.
async fn status(target: &Target, all: bool, json: bool) -> anyhow::Result<ExitCode> {
    let mut cluster = match target.connect_to_named().await? {
        Ok(cluster) if !all => cluster,
        Err(why) if !all && target.is_named => return Err(why),
        found => {
            let running = running::all().await;
            match (&running[..], found) {
                ([], Err(why)) if !all => return Err(why),
                ([Running { control: Some(path), pid, .. }], _) if !all => {
                    Cluster::connect_to(path, Some(*pid)).await?
                }
                (running, _) => {
                    let text = if json {
                        serde_json::to_string_pretty(&list::values(running))?
                    } else {
                        list::table(running).join("\n")
                    };
                    print(&text)?;
                    return Ok(ExitCode::SUCCESS);
                }
            }
        }
    };
    let status: Status = cluster.read("/status").await?;
    if json {
        print(&serde_json::to_string_pretty(&status)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let style = Style { colour: terminal::stdout_has_colour(), width: None };
    let mut lines = render::status(&status, None, style);
    if !cluster.peer.is_own() {
        lines.insert(
            1,
            format!("run by {}, control socket {}", User(cluster.peer.user), cluster.path.display()),
        );
    }
    print(&lines.join("\n"))?;
    Ok(ExitCode::SUCCESS)
}
