//! The first part of a shutdown: health says that the cluster goes away, and it serves as
//! before, until balancers in front of it have noticed and send nothing more.

use std::pin::Pin;
use std::time::Instant;

use humantime::format_duration;
use shared_protocol::EventKind;
use tokio::time::sleep;
use tracing::info;

use super::Shutdown;
use crate::signals::Signals;
use balancer_supervisor::{Ended, notify};

impl Shutdown {
    /// Serves on for the delay, or until a further signal.
    ///
    /// # Errors
    /// When the supervisor ends by itself meanwhile; says how.
    pub(super) async fn serve_on(
        &self,
        signal: &str,
        signals: &mut Signals,
        supervisor: Pin<&mut impl Future<Output = Ended>>,
    ) -> Result<(), Ended> {
        if self.delay.is_zero() {
            return Ok(());
        }
        let delay = format_duration(self.delay);
        let again = if signals.at_terminal() { "Ctrl-C again" } else { "a second signal" };
        info!(
            signal,
            "shutting down in {delay}: /health says 503, requests are served as before; {again} ends this"
        );
        let detail = format!("shutting down in {delay} because of {signal}");
        self.events.note(EventKind::Shutdown, None, None, detail);
        notify::stopping("serving on for the shutdown delay");
        self.registry.set_leaving(Instant::now() + self.delay);
        tokio::select! {
            () = sleep(self.delay) => {}
            signal = signals.stop() => {
                info!(signal, "second signal: the shutdown delay is over");
                signals.count_anew();
            }
            ended = supervisor => return Err(ended),
        }
        Ok(())
    }
}
