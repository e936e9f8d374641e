//! The worker's command line and configuration.
//!
//! Two stages: [`Cli`] takes flags as plain text, [`Config::resolve`] finds each
//! setting's value (flag, environment, `.env`, default) and parses it, once.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::thread::available_parallelism;
use std::time::Duration;

use clap::{Args, Parser};
use shared_settings::settings::{CRASH_ENABLED, HOST, LOG_FILTER, LOG_FORMAT, PORT, REDIS_URL, STATE_DIR};
use shared_settings::{ConfigError, Setting, Sources, parse_bool, parse_duration, parse_host};
use shared_store::RedisUrl;
use shared_telemetry::{LogFormat, Telemetry};

const DEFAULT_HOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const DEFAULT_PORT: u16 = 3100;
/// Below the 5 s after which a primary kills a worker that was told to stop.
const SUPERVISED_STOP: Duration = Duration::from_millis(4500);
const DEFAULT_STOP: Duration = Duration::from_secs(30);
/// What libraries report per connection is a client's doing, and the client
/// gets its answer; what befalls Redis is said once, when the store is lost.
const DEFAULT_FILTER: &str = "info,actix_server=warn,actix_http=off,redis=off";

/// Largest number whose Fibonacci number fits into 64 bits.
const FIBONACCI_LIMIT: u32 = 93;
/// Largest body that can be allowed: 1 GiB.
const BODY_LIMIT: usize = 1 << 30;

pub const DRAIN_TIMEOUT: Setting = Setting {
    flag: Some("drain-timeout"),
    variable: "CLUSTER_DRAIN_TIMEOUT",
    expects: "a duration above zero",
    example: "30s",
};
/// Below a primary: how long a stop waits for what is in flight.
pub const SHUTDOWN_TIMEOUT: Setting = Setting {
    flag: None,
    variable: "CLUSTER_WORKER_SHUTDOWN_TIMEOUT",
    expects: "a duration above zero",
    example: "4500ms",
};
pub const THREADS: Setting = Setting {
    flag: None,
    variable: "CLUSTER_WORKER_THREADS",
    expects: "a number of event-loop threads from 1 to 64",
    example: "1",
};
pub const CPU_THREADS: Setting = Setting {
    flag: None,
    variable: "CLUSTER_CPU_THREADS",
    expects: "a number of computing threads from 1 to 256",
    example: "2",
};
pub const CPU_QUEUE: Setting = Setting {
    flag: None,
    variable: "CLUSTER_CPU_QUEUE",
    expects: "a number of waiting computations from 0 to 100000",
    example: "64",
};
/// Alone: what the process is called.
pub const NAME: Setting = Setting {
    flag: None,
    variable: "WORKER_NAME",
    expects: "1 to 253 letters, digits, dots, dashes or underscores",
    example: "worker-a",
};
/// As [`NAME`], which wins; made to be set from the pod's own metadata.
pub const POD_NAME: Setting = Setting { variable: "POD_NAME", ..NAME };
pub const FIBONACCI_MAX: Setting = Setting {
    flag: None,
    variable: "CLUSTER_FIBONACCI_MAX",
    expects: "a number from 0 to 93",
    example: "45",
};
pub const MAX_BODY: Setting = Setting {
    flag: None,
    variable: "CLUSTER_MAX_BODY",
    expects: "a number of bytes from 1024 to 1073741824",
    example: "1048576",
};

/// One process that answers the cluster's HTTP API, without a cluster.
///
/// Each flag also has a variable; variables can stand in a file .env in the
/// working directory, too. The command line wins over the environment, and that
/// over .env.
#[derive(Debug, Parser)]
#[command(name = "worker", version)]
pub struct Cli {
    #[command(flatten)]
    pub flags: Flags,
    /// Started by a primary, with a socket to it as standard input.
    #[arg(long, hide = true)]
    pub supervised: bool,
}

/// What the command line said, unparsed.
#[derive(Debug, Default, Clone, Args)]
pub struct Flags {
    /// Where to listen [variable: HOST] [default: 127.0.0.1]
    #[arg(long, value_name = "ADDRESS")]
    pub host: Option<String>,
    /// Port to listen on; 0 takes a free one [variable: PORT] [default: 3100]
    #[arg(long, value_name = "PORT", allow_negative_numbers = true)]
    pub port: Option<String>,
    /// Keep shared state in Redis: redis://, redis+sentinel:// or redis+cluster://
    /// [variable: REDIS_URL]
    #[arg(long, value_name = "URL")]
    pub redis_url: Option<String>,
    /// Keep shared state in this directory, across restarts [variable:
    /// CLUSTER_STATE_DIR] [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<String>,
    /// How long a stop waits for requests in flight [variable:
    /// CLUSTER_DRAIN_TIMEOUT] [default: 30s]
    #[arg(long, value_name = "DURATION")]
    pub drain_timeout: Option<String>,
    /// text or json [variable: LOG_FORMAT] [default: text on a terminal]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
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
    /// What it is called where there is no cluster to give it an id.
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
    /// When a value does not parse; says which, where it came from, and what a
    /// right one looks like.
    pub fn resolve(sources: &Sources, flags: &Flags) -> Result<Self, ConfigError> {
        let host = sources.read(&HOST, flags.host.as_deref(), parse_host)?.unwrap_or(DEFAULT_HOST);
        let port = sources.read(&PORT, flags.port.as_deref(), |text| text.parse().ok())?;
        let redis = sources.read_secret(&REDIS_URL, flags.redis_url.as_deref(), RedisUrl::parse)?;
        let directory = sources.read(&STATE_DIR, flags.state_dir.as_deref(), parse_path)?;
        let drain = sources.read(&DRAIN_TIMEOUT, flags.drain_timeout.as_deref(), parse_duration)?;
        let crash = sources.read(&CRASH_ENABLED, None, parse_bool)?;
        let cores = available_parallelism().map_or(1, usize::from);
        Ok(Self {
            host,
            port: port.unwrap_or(DEFAULT_PORT),
            name: match sources.read(&NAME, None, parse_name)? {
                None => sources.read(&POD_NAME, None, parse_name)?,
                name => name,
            },
            state: match (redis, directory) {
                (Some(url), _) => State::Redis(url),
                (None, Some(directory)) => State::Directory(directory),
                (None, None) => State::Temporary,
            },
            threads: number(sources, &THREADS, 1, 64)?.unwrap_or(1),
            cpu_threads: number(sources, &CPU_THREADS, 1, 256)?.unwrap_or(cores),
            cpu_queue: number(sources, &CPU_QUEUE, 0, 100_000)?.unwrap_or(64),
            fibonacci_max: number(sources, &FIBONACCI_MAX, 0, FIBONACCI_LIMIT)?.unwrap_or(45),
            max_body: number(sources, &MAX_BODY, 1024, BODY_LIMIT)?.unwrap_or(1 << 20),
            crash_enabled: crash.unwrap_or(host.is_loopback()),
            drain_timeout: drain.unwrap_or(DEFAULT_STOP),
            shutdown_timeout: sources
                .read(&SHUTDOWN_TIMEOUT, None, parse_duration)?
                .unwrap_or(SUPERVISED_STOP),
            telemetry: telemetry(sources, flags)?,
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

fn telemetry(sources: &Sources, flags: &Flags) -> Result<Telemetry, ConfigError> {
    let format = sources.read(&LOG_FORMAT, flags.log_format.as_deref(), |text| text.parse().ok())?;
    let filter = sources.read(&LOG_FILTER, None, |text| Some(text.to_owned()))?;
    Ok(Telemetry {
        format: format.unwrap_or_else(LogFormat::for_stderr),
        filter: filter.unwrap_or_else(|| DEFAULT_FILTER.to_owned()),
        timestamps: true,
    })
}

fn number<T>(sources: &Sources, setting: &Setting, min: T, max: T) -> Result<Option<T>, ConfigError>
where
    T: std::str::FromStr + PartialOrd,
{
    sources.read(setting, None, |text| text.parse().ok().filter(|number| (&min..=&max).contains(&number)))
}

fn parse_path(text: &str) -> Option<PathBuf> {
    (!text.contains('\0')).then(|| PathBuf::from(text))
}

/// Long enough for any pod's name, and fit to stand in a log.
fn parse_name(text: &str) -> Option<String> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b".-_".contains(&b);
    ((1..=253).contains(&text.len()) && text.bytes().all(fits)).then(|| text.to_owned())
}
