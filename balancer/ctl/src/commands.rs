//! The subcommands that talk to a running cluster over its control socket.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use shared_http_client::Request;
use shared_protocol::{Scale, Status};
use shared_settings::{Sources, default_control_path, parse_socket_path, settings};

use crate::cli::{Action, Recipient};
use crate::cluster::Cluster;
use crate::render::{self, Style, print};
use crate::watch;

/// Carries out `action`. What went wrong is the error.
///
/// # Errors
/// When no cluster could be reached, or it did not do what it was asked to.
pub fn run(action: &Action) -> anyhow::Result<ExitCode> {
    let (Action::Status { to, .. } | Action::Reload { to } | Action::Scale { to, .. } | Action::Stop { to }) =
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
                    let style = Style { colour: render::may_colour(), width: None };
                    print(&render::status(&status, None, style).join("\n"))?;
                }
                Ok(ExitCode::SUCCESS)
            }
            Action::Reload { .. } => cluster.change(Request::post_empty("/reload"), to.json).await,
            Action::Scale { workers, .. } => {
                let body = serde_json::to_value(Scale { workers: *workers })?;
                cluster.change(Request::post("/scale", &body), to.json).await
            }
            Action::Stop { .. } => cluster.stop(to.json).await,
        }
    })
}

/// The socket that `to` means.
fn socket(to: &Recipient) -> anyhow::Result<PathBuf> {
    let sources = Sources::load(&std::env::current_dir().context("could not find the working directory")?)?;
    if let Some(path) = sources.read(&settings::CONTROL, to.control.as_deref(), parse_socket_path)? {
        return Ok(path);
    }
    let port = sources.read(&settings::PORT, to.port.as_deref(), |text| text.parse().ok())?.unwrap_or(3100);
    Ok(default_control_path(port))
}
