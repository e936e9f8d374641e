//! Does the store answer? Found out in the background, so that a health probe
//! never waits for a store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use shared::protocol::{StoreHealth, StoreKind};
use shared::store::StateStore;

/// Time between two questions.
const INTERVAL: Duration = Duration::from_millis(1000);

pub(crate) struct StoreWatch {
    kind: StoreKind,
    reachable: AtomicBool,
}

impl StoreWatch {
    pub(crate) fn new(kind: StoreKind) -> Self {
        // The embedded store has just been opened; Redis has not been asked yet.
        Self { kind, reachable: AtomicBool::new(kind == StoreKind::Embedded) }
    }

    pub(crate) fn health(&self) -> StoreHealth {
        StoreHealth { backend: self.kind, reachable: self.reachable.load(Ordering::Relaxed) }
    }

    /// Asks the store again and again; says in the log when its answer changes.
    pub(crate) async fn run(self: Arc<Self>, store: Arc<dyn StateStore>) {
        let mut first = true;
        loop {
            let answer = store.ping().await;
            let before = self.reachable.swap(answer.is_ok(), Ordering::Relaxed);
            match answer {
                Ok(()) if !before && !first => tracing::info!(store = ?self.kind, "the store answers again"),
                Err(err) if first => tracing::warn!(
                    store = ?self.kind, %err,
                    "started without the store; its routes answer 503 until it is there"
                ),
                Err(err) if before => tracing::warn!(
                    store = ?self.kind, %err,
                    "lost the store; its routes answer 503 until it is back"
                ),
                _ => {}
            }
            first = false;
            tokio::time::sleep(INTERVAL).await;
        }
    }
}
