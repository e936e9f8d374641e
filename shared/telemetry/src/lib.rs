//! Log set-up: tracing-subscriber, as text or as JSON lines.
//!
//! Lines leave through a bounded queue and a thread of their own, so that a
//! terminal or pipe that does not drain never blocks the program. What does not
//! fit is dropped, counted, and said in the log. Lines of others can be passed on through
//! the same queue ([`Sink`]); no filter concerns them.

pub mod codes;
mod patient;
mod queue;
pub mod terminal;

use std::io::{self, IsTerminal};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use patient::Patient;
use queue::{OwnLines, Queue, Writing};
use tracing_subscriber::{EnvFilter, fmt};

pub use queue::{Lost, Sink, Source};

/// How long the end of a program waits for its last lines to be read.
const LAST_LINES: Duration = Duration::from_secs(1);

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
    /// Directives in the form of tracing-subscriber's `EnvFilter`, such as `warn,balancer=debug`.
    pub filter: String,
    /// Off for a worker below a primary, which stamps each line itself.
    pub timestamps: bool,
}

/// Keeps the log alive; dropping it writes out what still waits, for up to a second.
#[derive(Debug)]
pub struct TelemetryGuard {
    stderr: Writing,
    stdout: Option<Writing>,
    lost: Lost,
}

impl TelemetryGuard {
    /// Where lines of others join the log on standard error.
    pub fn stderr(&self) -> Sink {
        Sink(Arc::clone(&self.stderr.queue))
    }

    /// Where lines of others go to standard output, past the log.
    ///
    /// # Errors
    /// When the thread that writes there cannot be started.
    pub fn stdout(&mut self) -> Result<Sink, TelemetryError> {
        let writing = match self.stdout.take() {
            Some(writing) => writing,
            None => {
                let started = Queue::start(Patient(io::stdout()), "standard output", self.lost.clone());
                started.map_err(TelemetryError::Thread)?
            }
        };
        Ok(Sink(Arc::clone(&self.stdout.insert(writing).queue)))
    }
}

impl Drop for TelemetryGuard {
    fn drop(&mut self) {
        // Standard error comes last: it is where the loss of lines is said.
        if let Some(stdout) = &self.stdout {
            stdout.finish(LAST_LINES);
        }
        self.stderr.finish(LAST_LINES);
    }
}

impl Telemetry {
    /// Does the filter parse?
    pub fn is_valid_filter(filter: &str) -> bool {
        EnvFilter::try_new(filter).is_ok()
    }
}

/// Installs the process-wide log, to standard error.
///
/// # Errors
/// When `filter` does not parse. Fails also when a log is already installed.
pub fn init(telemetry: &Telemetry) -> Result<TelemetryGuard, TelemetryError> {
    init_counted(telemetry, Lost::default())
}

/// As [`init`]; lines that are lost are counted in `lost`.
///
/// # Errors
/// As [`init`].
pub fn init_counted(telemetry: &Telemetry, lost: Lost) -> Result<TelemetryGuard, TelemetryError> {
    let filter = filter(&telemetry.filter).ok_or_else(|| TelemetryError::Filter(telemetry.filter.clone()))?;
    let stderr = Queue::start(Patient(io::stderr()), "standard error", lost.clone());
    let stderr = stderr.map_err(TelemetryError::Thread)?;
    install(telemetry, filter, Arc::clone(&stderr.queue))?;
    Ok(TelemetryGuard { stderr, stdout: None, lost })
}

/// Lets through what `directives` say, and in any case that lines were lost: otherwise nobody
/// knows that the log has gaps, as lines of others are in it whatever is let through.
fn filter(directives: &str) -> Option<EnvFilter> {
    let filter = EnvFilter::try_new(directives).ok()?;
    Some(filter.add_directive(queue::LOSSES.parse().ok()?))
}

fn install(telemetry: &Telemetry, filter: EnvFilter, queue: Arc<Queue>) -> Result<(), TelemetryError> {
    let color = terminal::stderr_has_colour();
    let writer = move || OwnLines(Arc::clone(&queue));
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
    #[error("invalid log directives {0:?}: expected for example RUST_LOG=info or RUST_LOG=warn,worker=debug")]
    Filter(String),
    #[error("could not start the log's thread: {0}")]
    Thread(io::Error),
    #[error("a log is already installed in this process")]
    AlreadyInstalled,
}
