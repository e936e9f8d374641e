//! TLS for clients: read at the start, by each reload, and when the files have changed.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use balancer_state::ClusterState;
use balancer_tls::{Reloaded, Sources, Tls};
use shared_settings::definitions::{TLS_CERT, TLS_DIR};

/// Time between two looks at the files. They are looked at, and not watched: certbot and
/// Kubernetes exchange links, and network file systems tell nothing of changes by others. A
/// look is a call of stat(2) for each.
const LOOK_INTERVAL: Duration = Duration::from_secs(3);
/// Time between two warnings of the same certificate.
const WARN_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads all certificates, for clients that may choose one of `protocols` (ALPN). What
/// operators see of them is kept up to date in `state`.
///
/// # Errors
/// When one of them cannot be used.
pub(crate) fn open(
    sources: &Sources,
    protocols: Vec<Vec<u8>>,
    state: &ClusterState,
) -> anyhow::Result<Arc<Tls>> {
    let certificates = Arc::clone(&state.certificates);
    let tls = Tls::new(sources.clone(), protocols, move |all| certificates.set(all));
    let tls = tls.with_context(|| format!("no TLS (set {} or {})", TLS_CERT.names(), TLS_DIR.names()))?;
    warn_of_dates(state);
    Ok(Arc::new(tls))
}

/// Reads all files again. Returns why something was refused, for who has asked for it.
pub(crate) fn reload(tls: &Tls) -> Vec<String> {
    let Reloaded { fresh, refused } = tls.reload();
    for status in fresh {
        let expiry = status.expiry(SystemTime::now());
        info!(name = status.name, source = status.source, "a new certificate is used: it {expiry}");
    }
    for reason in &refused {
        warn!("a certificate was refused: {reason}");
    }
    refused
}

/// Follows the files, and warns of certificates that end soon, for as long as it is polled.
pub(crate) async fn watch(tls: Arc<Tls>, state: ClusterState) {
    let mut interval = tokio::time::interval(LOOK_INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut seen, mut warned) = (None, Instant::now());
    loop {
        interval.tick().await;
        let looked = Arc::clone(&tls);
        // A file system that hangs must not stop the supervisor.
        let looking = tokio::task::spawn_blocking(move || {
            let is_stale = looked.is_stale(&mut seen);
            if is_stale {
                reload(&looked);
            }
            seen
        });
        let Ok(now) = looking.await else { return };
        seen = now;
        if warned.elapsed() >= WARN_INTERVAL {
            warned = Instant::now();
            warn_of_dates(&state);
        }
    }
}

fn warn_of_dates(state: &ClusterState) {
    let now = SystemTime::now();
    for status in state.certificates.all().iter() {
        if let Some(warning) = status.warning(now) {
            warn!(source = status.source, "{warning}");
        }
    }
}
