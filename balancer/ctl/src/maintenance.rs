//! `maintenance on` and `maintenance off`.

use std::process::ExitCode;

use anyhow::bail;
use shared_http_client::Request;
use shared_protocol::Maintenance;

use crate::cli::Switch;
use crate::cluster::Cluster;
use crate::render::{self, print};

/// What clients are told unless it is said: those who wait come back soon after its end,
/// and a minute is long enough for many of them to be no load.
const RETRY_AFTER_SECONDS: u32 = 60;

/// # Errors
/// When the cluster does not do it, or a time is given for something that has ended.
pub(crate) async fn run(
    mut cluster: Cluster,
    to_be: Switch,
    retry_after: Option<u32>,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let wanted = match (to_be, retry_after) {
        (Switch::Off, None) => None,
        (Switch::Off, Some(_)) => {
            bail!("--retry-after goes with on: balancer maintenance on --retry-after 10m")
        }
        (Switch::On, seconds) => {
            Some(Maintenance { retry_after_seconds: seconds.unwrap_or(RETRY_AFTER_SECONDS) })
        }
    };
    let request = match wanted {
        Some(wanted) => Request::post("/maintenance", &serde_json::to_value(wanted)?),
        None => Request::delete("/maintenance"),
    };
    let response = cluster.ask(request).await?;
    if json {
        print(&String::from_utf8_lossy(&response.body))?;
    } else {
        print(
            &wanted.map_or_else(|| "maintenance off: requests go to workers".to_owned(), render::maintenance),
        )?;
    }
    Ok(ExitCode::SUCCESS)
}
