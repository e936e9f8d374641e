//! The subcommands that talk to a running cluster over its control socket.

use std::path::PathBuf;
use std::process::ExitCode;

use shared_http_client::Request;
use shared_protocol::{Scale, Status};
use shared_settings::definitions::{CONTROL, PORT};
use shared_settings::{Settings, default_control_path};

use shared_telemetry::terminal;

use crate::cli::{Action, Recipient};
use crate::cluster::Cluster;
use crate::logs;
use crate::render::{self, Style, print};
use crate::watch;

/// Carries out `action`. What went wrong is the error.
///
/// # Errors
/// When no cluster could be reached, or it did not do what it was asked to.
pub fn run(action: &Action) -> anyhow::Result<ExitCode> {
    let (Action::Status { to, .. } | Action::Logs { to, .. } | Action::Reload { to } | Action::Scale { to, .. } | Action::Stop { to }) =
        action;
    let path = socket(to)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut cluster = Cluster::connect(&path).await?;
        match action {
            Action::Status { watch: true, .. } => watch::run(cluster, &path, to.json).await,
            Action::Status { .. } => {
                let status: Status = cluster.read("/status").await?;
                if to.json {
                    print(&serde_json::to_string_pretty(&status)?)?;
                } else {
                    let style = Style { colour: terminal::stdout_has_colour(), width: None };
                    print(&render::status(&status, None, style).join("\n"))?;
                }
                Ok(ExitCode::SUCCESS)
            }
            Action::Logs { which, .. } => logs::run(cluster, &path, which, to.json).await,
            Action::Reload { .. } => cluster.change(Request::post_empty("/reload"), to.json).await,
            Action::Scale { workers, .. } => {
                let body = serde_json::to_value(Scale { workers: *workers })?;
                cluster.change(Request::post("/scale", &body), to.json).await
            }
            Action::Stop { .. } => cluster.stop(to.json).await,
        }
    })
}

/// The path of the control socket that `to` means.
fn socket(to: &Recipient) -> anyhow::Result<PathBuf> {
    let settings = Settings::load(to.flags.clone())?;
    Ok(match settings.find(&CONTROL)? {
        Some(path) => path,
        None => default_control_path(settings.get(&PORT)?),
    })
}
