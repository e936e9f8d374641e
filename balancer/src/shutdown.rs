//! The end of the cluster, in order: say so, stop accepting, finish what is in
//! flight, stop the workers, and only then let connections go.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use pingora::apps::ServerApp;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use crate::journal::{Journal, Kind};
use crate::listener::Phase;
use crate::notify;
use crate::proxy::OpenRequests;
use crate::roster::Roster;
use crate::signals::Signals;
use crate::supervisor::Order;

/// How often the number of open requests is looked at while draining.
const LOOK: Duration = Duration::from_millis(5);
/// No open request for this long: what clients had sent when the drain began
/// has been read and answered.
const QUIET: Duration = Duration::from_millis(40);

pub struct Shutdown<A> {
    pub roster: Arc<Roster>,
    pub journal: Arc<Journal>,
    pub open: OpenRequests,
    pub phase: watch::Sender<Phase>,
    pub draining: watch::Sender<bool>,
    pub orders: mpsc::Sender<Order>,
    pub app: Arc<A>,
    pub drain_timeout: Duration,
}

impl<A: ServerApp + Sync> Shutdown<A> {
    /// Runs `supervisor` until a signal ends the cluster. A second signal, at
    /// any point, ends it without waiting.
    pub async fn run(self, mut signals: Signals, supervisor: impl Future<Output = ()>) -> ExitCode {
        tokio::pin!(supervisor);
        let signal = tokio::select! {
            signal = signals.stop() => signal,
            // It ends only when told to.
            () = &mut supervisor => "an internal failure",
        };
        info!(signal, open = self.open.count(), "shutting down");
        self.journal.note(Kind::Shutdown, None, None, format!("shutting down because of {signal}"));
        notify::stopping();
        self.roster.set_draining();
        // From now on each answer closes its connection.
        self.draining.send_replace(true);
        self.phase.send_replace(Phase::Closing);
        let code = tokio::select! {
            code = self.finish() => code,
            () = &mut supervisor => ExitCode::FAILURE,
            signal = signals.stop() => {
                warn!(signal, "second signal: stopping at once");
                self.order(Order::Kill).await;
                ExitCode::FAILURE
            }
        };
        self.app.cleanup().await;
        let forced = tokio::select! {
            () = &mut supervisor => false,
            _ = signals.stop() => true,
        };
        if forced {
            warn!("second signal: killing the workers");
            self.order(Order::Kill).await;
            supervisor.await;
        }
        self.phase.send_replace(Phase::Ended);
        info!("stopped");
        if forced { ExitCode::FAILURE } else { code }
    }

    /// Waits for open requests, up to the drain timeout, then stops the workers.
    async fn finish(&self) -> ExitCode {
        let in_time = timeout(self.drain_timeout, self.quiet()).await.is_ok();
        if !in_time {
            warn!(open = self.open.count(), "drain timeout reached: requests are cut off");
        }
        self.order(Order::Stop).await;
        ExitCode::SUCCESS
    }

    async fn quiet(&self) {
        let mut since = Instant::now();
        while since.elapsed() < QUIET {
            sleep(LOOK).await;
            if self.open.count() > 0 {
                since = Instant::now();
            }
        }
    }

    async fn order(&self, order: Order) {
        // Closed only when the supervisor has ended, and then there is nothing to order.
        let _ = self.orders.send(order).await;
    }
}
