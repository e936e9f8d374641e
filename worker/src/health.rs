//! Does the store answer? Found out in the background, so that a health probe
//! never waits for a store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use shared_protocol::{StoreHealth, StoreKind};
use shared_store::{StateStore, StoreError};
use tokio::sync::Notify;

/// Time between two questions.
const INTERVAL: Duration = Duration::from_millis(1000);

/// Longest wait for the first answer before a worker says that it is there.
const FIRST_ANSWER: Duration = Duration::from_millis(100);

/// What operators read about a store whose files are gone.
pub(crate) const LOST: &str =
    "the state directory was removed or replaced while the cluster ran: restart the whole cluster";

pub(crate) struct StoreWatch {
    kind: StoreKind,
    reachable: AtomicBool,
    /// Its files are gone.
    lost: AtomicBool,
    asked: Notify,
}

impl StoreWatch {
    pub(crate) fn new(kind: StoreKind) -> Self {
        // The embedded store has just been opened; Redis has not been asked yet.
        let reachable = AtomicBool::new(kind == StoreKind::Embedded);
        Self { kind, reachable, lost: AtomicBool::new(false), asked: Notify::new() }
    }

    pub(crate) fn health(&self) -> StoreHealth {
        let problem = self.lost.load(Ordering::Relaxed).then(|| LOST.to_owned());
        StoreHealth { backend: self.kind, reachable: self.reachable.load(Ordering::Relaxed), problem }
    }

    /// Waits until [`Self::run`] has asked once, but not for long: a store that
    /// hangs must not keep a worker from starting.
    pub(crate) async fn first_answer(&self) {
        let _ = tokio::time::timeout(FIRST_ANSWER, self.asked.notified()).await;
    }

    /// Asks the store again and again; says in the log when its answer changes.
    pub(crate) async fn run(self: Arc<Self>, store: Arc<dyn StateStore>) {
        let mut first = true;
        loop {
            let answer = store.ping().await;
            self.lost.store(matches!(answer, Err(StoreError::Lost(_))), Ordering::Relaxed);
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
            if first {
                self.asked.notify_one();
            }
            first = false;
            tokio::time::sleep(INTERVAL).await;
        }
    }
}
