//! The worker's command line and its validated configuration.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::thread::available_parallelism;
use std::time::Duration;

use clap::Parser;
use shared_settings::definitions::{
    CPU_QUEUE, CPU_THREADS, CRASH_ENABLED, DRAIN_TIMEOUT, FIBONACCI_MAX, HOST, LOG_FORMAT, MAX_BODY,
    POD_NAME, PORT, REDIS_URL, RUST_LOG, STATE_DIR, WORKER_NAME, WORKER_SHUTDOWN_TIMEOUT, WORKER_THREADS,
};
use shared_settings::{ConfigError, Flags, Settings, Worker};
use shared_store::RedisUrl;
use shared_telemetry::{LogFormat, Telemetry};

/// Libraries report what a client has done to its connection, and that client gets
/// its response; the loss of Redis is logged once, when the store is lost.
const DEFAULT_FILTER: &str = "info,actix_server=warn,actix_http=off,redis=off";

/// One process that answers the cluster's HTTP API, without a cluster.
///
/// Each flag also has a variable; variables can stand in a file .env in the
/// working directory, too. The command line wins over the environment, and that
/// over .env. docs/configuration.md lists the variables that have no flag.
#[derive(Debug, Parser)]
#[command(name = "worker", version, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    pub flags: Flags<Worker>,
    /// Started by a primary, with a socket to it as standard input.
    #[arg(long, hide = true)]
    pub supervised: bool,
}

/// Where shared state is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    Redis(RedisUrl),
    Directory(PathBuf),
    /// A new temporary directory, removed at the end.
    Temporary,
}

/// The worker's configuration, checked.
#[derive(Debug, Clone)]
pub struct Config {
    pub host: IpAddr,
    pub port: u16,
    /// Name of the process where there is no cluster to give it an id.
    pub name: Option<String>,
    pub state: State,
    /// Event-loop threads.
    pub threads: usize,
    pub cpu_threads: usize,
    /// Computations that may wait for a computing thread.
    pub cpu_queue: usize,
    pub fibonacci_max: u32,
    /// Largest request body in bytes.
    pub max_body: usize,
    pub crash_enabled: bool,
    /// How long a stop waits for what is in flight.
    pub drain_timeout: Duration,
    /// As `drain_timeout`, below a primary.
    shutdown_timeout: Duration,
    pub telemetry: Telemetry,
}

impl Config {
    /// # Errors
    /// When a value does not parse; names the value, its source and a right one.
    pub fn new(settings: &Settings) -> Result<Self, ConfigError> {
        let host = settings.get(&HOST)?;
        let cpus = available_parallelism().map_or(1, usize::from);
        Ok(Self {
            host,
            port: settings.get(&PORT)?,
            name: match settings.find(&WORKER_NAME)? {
                None => settings.find(&POD_NAME)?,
                name => name,
            },
            state: match (settings.find_secret(&REDIS_URL, RedisUrl::parse)?, settings.find(&STATE_DIR)?) {
                (Some(url), _) => State::Redis(url),
                (None, Some(directory)) => State::Directory(directory),
                (None, None) => State::Temporary,
            },
            threads: settings.get(&WORKER_THREADS)?,
            cpu_threads: settings.find(&CPU_THREADS)?.unwrap_or(cpus),
            cpu_queue: settings.get(&CPU_QUEUE)?,
            fibonacci_max: settings.get(&FIBONACCI_MAX)?,
            max_body: settings.get(&MAX_BODY)?,
            crash_enabled: settings.find(&CRASH_ENABLED)?.unwrap_or(host.is_loopback()),
            drain_timeout: settings.get(&DRAIN_TIMEOUT)?,
            shutdown_timeout: settings.get(&WORKER_SHUTDOWN_TIMEOUT)?,
            telemetry: Telemetry {
                format: settings
                    .find_as(&LOG_FORMAT, |text| text.parse().ok())?
                    .unwrap_or_else(LogFormat::for_stderr),
                filter: settings.find(&RUST_LOG)?.unwrap_or_else(|| DEFAULT_FILTER.to_owned()),
                timestamps: true,
            },
        })
    }

    /// The same below a primary, which drains before it stops a worker, and
    /// stamps log lines itself.
    #[must_use]
    pub fn supervised(mut self) -> Self {
        self.drain_timeout = self.shutdown_timeout;
        self.telemetry.timestamps = false;
        self
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.host, self.port)
    }
}
