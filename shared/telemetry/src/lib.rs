//! Log set-up: tracing-subscriber, as text or as JSON lines.
//!
//! Lines leave through a bounded queue and a thread of their own, so that a
//! terminal or pipe that does not drain never blocks the program. What does not
//! fit is dropped, and the count of it is written when the program ends.

pub mod terminal;

use std::io::{self, IsTerminal, Write};
use std::str::FromStr;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{EnvFilter, fmt};

/// Lines that may wait for a slow reader before further ones are dropped.
const QUEUED_LINES: usize = 16_384;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

impl LogFormat {
    /// Text for a person at a terminal, JSON for a file or a collector.
    pub fn for_stderr() -> Self {
        if io::stderr().is_terminal() { Self::Text } else { Self::Json }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

impl FromStr for LogFormat {
    type Err = ();

    fn from_str(s: &str) -> Result<Self, ()> {
        match s {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(()),
        }
    }
}

/// How [`init`] writes.
#[derive(Debug, Clone)]
pub struct Telemetry {
    pub format: LogFormat,
    /// Directives in the form of `RUST_LOG`.
    pub filter: String,
    /// Off for a worker below a primary, which stamps each line itself.
    pub timestamps: bool,
}

/// Keeps the log alive; dropping it writes out what still waits.
pub struct TelemetryGuard {
    worker: Option<WorkerGuard>,
    dropped: ErrorCounter,
}

impl Drop for TelemetryGuard {
    fn drop(&mut self) {
        // Writes what waits, for up to a second.
        drop(self.worker.take());
        let dropped = self.dropped.dropped_lines();
        if dropped > 0 && stderr_takes_a_line() {
            let _ = writeln!(
                io::stderr(),
                "{dropped} log lines were dropped: standard error was read too slowly"
            );
        }
    }
}

impl Telemetry {
    /// Does the filter parse?
    pub fn is_valid_filter(filter: &str) -> bool {
        EnvFilter::try_new(filter).is_ok()
    }
}

/// Whoever read too slowly before may still do so, and must not keep the program
/// from ending. A pipe that is ready takes `PIPE_BUF` bytes at once (pipe(7)).
fn stderr_takes_a_line() -> bool {
    let stderr = io::stderr();
    let mut ready = [PollFd::new(&stderr, PollFlags::OUT)];
    poll(&mut ready, Some(&Timespec::default())).is_ok_and(|count| count == 1)
}

/// Installs the process-wide log, to standard error.
///
/// # Errors
/// When `filter` does not parse. Fails also when a log is already installed.
pub fn init(telemetry: &Telemetry) -> Result<TelemetryGuard, TelemetryError> {
    let filter = EnvFilter::try_new(&telemetry.filter)
        .map_err(|_| TelemetryError::Filter(telemetry.filter.clone()))?;
    let (writer, worker) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(QUEUED_LINES)
        .thread_name("log")
        .finish(io::stderr());
    let dropped = writer.error_counter();
    install(telemetry, filter, writer)?;
    Ok(TelemetryGuard { worker: Some(worker), dropped })
}

fn install(telemetry: &Telemetry, filter: EnvFilter, writer: NonBlocking) -> Result<(), TelemetryError> {
    let color = terminal::stderr_has_colour();
    let base = fmt().with_env_filter(filter).with_target(false).with_ansi(color).with_writer(writer);
    match (telemetry.format, telemetry.timestamps) {
        (LogFormat::Text, true) => finish(base.finish()),
        (LogFormat::Text, false) => finish(base.without_time().finish()),
        (LogFormat::Json, true) => finish(base.json().flatten_event(true).finish()),
        (LogFormat::Json, false) => finish(base.json().flatten_event(true).without_time().finish()),
    }
}

fn finish(subscriber: impl tracing::Subscriber + Send + Sync + 'static) -> Result<(), TelemetryError> {
    // Also carries what libraries say through the `log` crate.
    use tracing_subscriber::util::SubscriberInitExt;
    subscriber.try_init().map_err(|_| TelemetryError::AlreadyInstalled)
}

#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error(
        "invalid RUST_LOG {0:?}: expected log directives, for example RUST_LOG=info or RUST_LOG=warn,balancer=debug"
    )]
    Filter(String),
    #[error("a log is already installed in this process")]
    AlreadyInstalled,
}
