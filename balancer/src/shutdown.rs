//! The graceful shutdown of the cluster, in order: announce it, serve on for the delay, stop
//! accepting, finish the requests in flight, stop the workers, and only then close connections.

mod delay;

use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use humantime::format_duration;
use shared_protocol::{EventKind, in_flight_text};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use crate::signals::Signals;
use crate::upgrade::{Predecessor, Succeeded};
use balancer_proxy::OpenRequests;
use balancer_proxy::listener::Phase;
use balancer_state::events::Events;
use balancer_state::registry::{Reason, Registry};
use balancer_supervisor::notify;
use balancer_supervisor::{Command, Ended, Handle};

/// Time between two checks of the number of open requests while draining.
const CHECK_INTERVAL: Duration = Duration::from_millis(5);
/// What ends by itself is not cut off in the moment in which the workers are told to end.
const LEAST: Duration = Duration::from_millis(1);
/// The drain ends when no request has been open for this long: by then, what clients
/// had sent when it began has been read and answered.
const QUIET_PERIOD: Duration = Duration::from_millis(40);

/// After an upgrade, for clients that keep idle connections to send their next request, whose
/// response closes the connection: an idle one that is closed as a request comes loses it.
const NEXT_REQUEST: Duration = Duration::from_secs(5);

/// For requests that wait for a worker to be told that there will be none.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

pub(crate) struct Shutdown {
    pub(crate) registry: Arc<Registry>,
    pub(crate) events: Arc<Events>,
    pub(crate) open: OpenRequests,
    pub(crate) phase: watch::Sender<Phase>,
    /// One permit for each of so many connections of clients (`balancer_proxy::listener::Serving`).
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) connections: usize,
    /// How the listener closes.
    pub(crate) closing: Phase,
    /// Workers have connections of clients that only they know.
    pub(crate) is_direct: bool,
    pub(crate) predecessor: Predecessor,
    /// Operators are not served any more from then on.
    pub(crate) leaving: watch::Sender<bool>,
    pub(crate) supervisor: Handle,
    /// So long everything goes on as before, but for the answers about health.
    pub(crate) delay: Duration,
    pub(crate) stop_timeout: Duration,
    /// At most so long for long-lived connections; never longer than what is left.
    pub(crate) stream_drain: Option<Duration>,
}

/// How the time of serving has ended.
enum Serving {
    /// By a signal; in the moment in which another cluster has succeeded this one, if it has.
    Stopped {
        signal: &'static str,
        succeeded: Option<Succeeded>,
    },
    Succeeded(Succeeded),
    Ended(Ended),
}

impl Shutdown {
    /// Runs `supervisor` until a signal ends the cluster. A second signal, at
    /// any point but right after the first, ends it without waiting.
    ///
    /// # Errors
    /// When the supervisor has given up, because no worker ever got ready; says why.
    pub(crate) async fn run(
        mut self,
        mut signals: Signals,
        supervisor: impl Future<Output = Ended>,
    ) -> anyhow::Result<ExitCode> {
        tokio::pin!(supervisor);
        let signal = match self.serve(&mut signals, supervisor.as_mut()).await {
            Serving::Stopped { signal, succeeded: None } => signal,
            // It would be news to the other one, which the signal or the command was for as well.
            Serving::Stopped { signal, succeeded: Some(succeeded) } => {
                succeeded.stop();
                signal
            }
            Serving::Succeeded(succeeded) => return self.leave(succeeded, signals, supervisor).await,
            Serving::Ended(ended) => return self.gave_up(ended).await,
        };
        if let Err(ended) = self.serve_on(signal, &mut signals, supervisor.as_mut()).await {
            return self.gave_up(ended).await;
        }
        let open = self.open.count();
        info!(signal, open, "shutting down: {}", self.waits_for(open, signals.at_terminal()));
        self.events.note(EventKind::Shutdown, None, None, format!("shutting down because of {signal}"));
        notify::stopping("finishing requests");
        // From now on each response closes its connection.
        self.registry.set_draining();
        self.predecessor.close();
        self.phase.send_replace(self.closing);
        self.end(signals, supervisor, Duration::ZERO).await
    }

    /// Serves, and carries out upgrades.
    async fn serve(
        &mut self,
        signals: &mut Signals,
        mut supervisor: Pin<&mut impl Future<Output = Ended>>,
    ) -> Serving {
        let (stop, stopping) = watch::channel(false);
        let upgrades = self.predecessor.succeeded(stopping);
        tokio::pin!(upgrades);
        let signal = tokio::select! {
            // Who has asked for the end before the switch means both processes.
            biased;
            signal = signals.stop() => signal,
            Some(succeeded) = &mut upgrades => return Serving::Succeeded(succeeded),
            // It ends only on command otherwise.
            ended = &mut supervisor => return Serving::Ended(ended),
        };
        stop.send_replace(true);
        // At once where none is under way.
        tokio::select! {
            succeeded = upgrades => Serving::Stopped { signal, succeeded },
            // What is under way is killed.
            _ = signals.stop() => Serving::Stopped { signal, succeeded: None },
            ended = supervisor => Serving::Ended(ended),
        }
    }

    /// Another cluster serves from now on, and this one finishes what it has. A signal that comes
    /// now is meant for both, and for this one says nothing new.
    async fn leave(
        mut self,
        succeeded: Succeeded,
        mut signals: Signals,
        supervisor: Pin<&mut impl Future<Output = Ended>>,
    ) -> anyhow::Result<ExitCode> {
        let open = self.open.count();
        let waits_for = self.waits_for(open, signals.at_terminal());
        info!(open, "succeeded by pid {}: {waits_for}", succeeded.pid());
        self.registry.set_succeeded();
        // By a command that came too early to be told who serves.
        if self.registry.is_stop_asked() {
            succeeded.stop();
        }
        self.predecessor.close();
        self.leaving.send_replace(true);
        self.phase.send_replace(Phase::Leaving);
        signals.expect_stop();
        self.end(signals, supervisor, NEXT_REQUEST).await
    }

    /// Finishes what there is, stops the workers and ends. Idle connections have the time `idle`.
    async fn end(
        self,
        mut signals: Signals,
        mut supervisor: Pin<&mut impl Future<Output = Ended>>,
        idle: Duration,
    ) -> anyhow::Result<ExitCode> {
        let code = tokio::select! {
            code = self.finish(idle) => code,
            _ = &mut supervisor => {
                self.phase.send_replace(Phase::Ended);
                return Ok(ExitCode::FAILURE);
            }
            signal = signals.stop() => {
                warn!(signal, "second signal: stopping at once");
                self.command(Command::Kill).await;
                ExitCode::FAILURE
            }
        };
        let forced = tokio::select! {
            _ = &mut supervisor => false,
            _ = signals.stop() => true,
        };
        if forced {
            warn!("second signal: killing the workers");
            self.command(Command::Kill).await;
            supervisor.await;
        }
        self.phase.send_replace(Phase::Ended);
        info!("stopped");
        Ok(if forced { ExitCode::FAILURE } else { code })
    }

    /// The supervisor has ended by itself: requests that wait for a worker are answered, as
    /// there will be none.
    async fn gave_up(self, ended: Ended) -> anyhow::Result<ExitCode> {
        notify::stopping("finishing requests");
        self.registry.set_draining();
        self.phase.send_replace(self.closing);
        // In vain when there are too many of them.
        let _ = timeout(LAST_ANSWERS, self.quiet()).await;
        self.phase.send_replace(Phase::Ended);
        let Ended::GaveUp(Reason { mut text, last_lines }) = ended else {
            anyhow::bail!("the supervisor has ended without a command");
        };
        if !last_lines.is_empty() {
            text.push_str("; it printed last:");
        }
        Err(anyhow::Error::msg(last_lines.iter().fold(text, |text, line| format!("{text}\n  {line}"))))
    }

    /// Waits until no request is open, up to the stop timeout, then stops the workers.
    /// Long-lived connections have what is left of it.
    async fn finish(&self, idle: Duration) -> ExitCode {
        let start = Instant::now();
        // In vain when a client stays idle for longer.
        let _ = timeout(idle.min(self.stop_timeout), self.idle_connections_closed()).await;
        let left = self.stop_timeout.saturating_sub(start.elapsed());
        let in_time = timeout(left, self.quiet()).await.is_ok();
        let left = self.stop_timeout.saturating_sub(start.elapsed());
        let long_lived = if !in_time {
            warn!(open = self.open.count(), "stop timeout reached: aborting the requests in flight");
            Duration::ZERO
        } else if self.is_direct {
            left.max(LEAST)
        } else if let Some(connections) = in_flight_text(0, self.open.long_lived()) {
            let time = self.stream_drain.map_or(left, |limit| limit.min(left));
            info!("no request is left; {connections} end within {:.1} s", time.as_secs_f64());
            time.max(LEAST)
        } else {
            LEAST
        };
        self.command(Command::Stop { long_lived }).await;
        ExitCode::SUCCESS
    }

    /// What the shutdown waits for, for whoever looks at the log.
    fn waits_for(&self, open: u64, at_terminal: bool) -> String {
        let requests = match in_flight_text(open, self.open.long_lived()) {
            None => "no request in flight".to_owned(),
            Some(text) => format!("{text} in flight, up to {}", format_duration(self.stop_timeout)),
        };
        let again = if at_terminal { "Ctrl-C again" } else { "a second signal" };
        format!("{requests}; {again} stops at once")
    }

    /// Returns when none but long-lived connections are left.
    async fn idle_connections_closed(&self) {
        let long_lived = usize::try_from(self.open.long_lived()).unwrap_or(usize::MAX);
        let others = self.connections.saturating_sub(long_lived);
        // Returned as connections end. The semaphore is never closed.
        let _ = self.permits.acquire_many(u32::try_from(others).unwrap_or(u32::MAX)).await;
    }

    /// Returns when no request has been open for [`QUIET_PERIOD`].
    async fn quiet(&self) {
        let mut since = Instant::now();
        while since.elapsed() < QUIET_PERIOD {
            sleep(CHECK_INTERVAL).await;
            if self.open.count() > 0 {
                since = Instant::now();
            }
        }
    }

    async fn command(&self, command: Command) {
        // The channel is closed only once the supervisor has ended, and then no command is needed.
        let _ = self.supervisor.send(command).await;
    }
}
