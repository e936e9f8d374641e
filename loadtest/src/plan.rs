//! What a run does, decided once: no option is looked at after this.

pub mod condition;
pub mod request;
pub mod target;

use std::path::PathBuf;
use std::thread::available_parallelism;
use std::time::Duration;

use bytes::Bytes;
use shared_settings::definitions::{HOST, PORT};
use shared_settings::{ConfigError, Settings};
use shared_tls_client::Trust;

use crate::cli::RunArgs;
use crate::schedule::Schedule;
use condition::{Condition, ConditionError, parse_time};
use request::{Common, Request, RequestError, parse_headers, parse_method};
use target::{Target, TargetError};

/// Requests of a run that says neither how many nor how long.
const DEFAULT_REQUESTS: u64 = 100;
/// Duration of an open loop that says neither.
const DEFAULT_DURATION: Duration = Duration::from_secs(10);
/// Duration of one step of a search.
const DEFAULT_STEP: Duration = Duration::from_secs(5);
/// Before each step, in which what the last one left behind drains.
const STEP_WARMUP: Duration = Duration::from_millis(500);
/// More connections than this are a slip of the finger on one machine.
const MAX_CONNECTIONS: usize = 100_000;
const MAX_RATE: f64 = 10_000_000.0;

/// A run, complete and consistent.
#[derive(Debug, Clone)]
pub struct Plan {
    pub target: Target,
    pub unix_socket: Option<PathBuf>,
    pub trust: Trust,
    /// TLS connections may resume the session of an earlier one.
    pub resumption: bool,
    pub http2: bool,
    /// One, or the entries of a mix.
    pub requests: Vec<Request>,
    pub load: Load,
    pub threads: usize,
    pub connections: usize,
    /// Requests at a time on each connection; 1 but for HTTP/2.
    pub streams: usize,
    pub stop_after: Option<u64>,
    /// Of the measured part.
    pub duration: Option<Duration>,
    pub warmup: Duration,
    pub timeout: Duration,
    pub keepalive: bool,
    pub worker_source: WorkerSource,
    pub expect_body: Option<Bytes>,
}

/// What makes a connection send its next request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Load {
    /// The answer to the last one.
    Closed,
    /// The clock.
    Open { from: f64, to: f64 },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkerSource {
    Header,
    /// Keys (and indices) from the outside in.
    Json(Vec<String>),
}

/// A command line that cannot be carried out: exit code 2.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    Condition(#[from] ConditionError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("invalid value {value:?} for {flag}: expected {expects} (a right one is {flag} {example})")]
    Value { flag: &'static str, value: String, expects: &'static str, example: &'static str },
    #[error("could not read the body from {path}: {source}", path = path.display())]
    Body { path: PathBuf, source: std::io::Error },
    #[error("{0}")]
    Conflict(&'static str),
}

impl Plan {
    /// # Errors
    /// When a value does not parse or values contradict each other.
    pub fn new(args: &RunArgs, settings: &Settings) -> Result<Self, UsageError> {
        let url = match &args.url {
            Some(url) => url.clone(),
            None => default_url(settings)?,
        };
        let target = Target::parse(&url)?;
        let load = load(args)?;
        let duration = duration(args, &load)?;
        let stop_after = match (args.requests, duration) {
            (Some(0), _) => return Err(value("-n", "0", "at least one request", "100")),
            (Some(requests), _) => Some(requests),
            (None, Some(_)) => None,
            (None, None) => Some(DEFAULT_REQUESTS),
        };
        let default_warmup = if args.find_max.is_some() { STEP_WARMUP } else { Duration::ZERO };
        let warmup = optional_time("--warmup", args.warmup.as_deref())?.unwrap_or(default_warmup);
        if !warmup.is_zero() && duration.is_none() {
            return Err(UsageError::Conflict("--warmup needs a duration to follow it (such as -d 10s)"));
        }
        let connections = connections(args, stop_after)?;
        let threads = threads(args, connections)?;
        Ok(Self {
            requests: requests(args, &target)?,
            unix_socket: unix_socket(args, &target)?,
            target,
            trust: Trust::of_flags(args.cacert.as_deref(), args.insecure),
            resumption: !args.no_resumption,
            http2: args.http2,
            load,
            threads,
            connections,
            streams: bounded("--streams", args.streams, 1..=1000, "a number from 1 to 1000", "10")?,
            stop_after,
            duration,
            warmup,
            timeout: time("--timeout", &args.timeout)?,
            keepalive: !args.no_keepalive,
            worker_source: match &args.worker_json {
                None => WorkerSource::Header,
                Some(path) => WorkerSource::Json(json_path(path)?),
            },
            expect_body: args.expect_body.as_ref().map(|text| Bytes::from(text.clone())),
        })
    }

    /// Requests at a time, over all connections.
    pub fn virtual_users(&self) -> u64 {
        (self.connections * self.streams) as u64
    }

    pub fn is_open(&self) -> bool {
        matches!(self.load, Load::Open { .. })
    }

    /// When requests are due; `None` in a closed loop.
    pub fn schedule(&self) -> Option<Schedule> {
        match (self.load, self.duration) {
            (Load::Closed, _) => None,
            (Load::Open { from, to }, Some(over)) if from != to => {
                Some(Schedule::ramp(from, to, over, self.warmup))
            }
            (Load::Open { from, .. }, _) => Some(Schedule::constant(from, self.duration, self.warmup)),
        }
    }
}

/// All conditions of `texts`.
///
/// # Errors
/// For the first one that does not parse.
pub fn conditions(texts: &[String]) -> Result<Vec<Condition>, UsageError> {
    let mut all = Vec::new();
    for text in texts {
        all.extend(Condition::parse_list(text)?);
    }
    Ok(all)
}

fn default_url(settings: &Settings) -> Result<String, UsageError> {
    let address = shared_settings::reachable_address(settings.get(&HOST)?, settings.get(&PORT)?);
    Ok(format!("http://{address}/cluster/info"))
}

fn unix_socket(args: &RunArgs, target: &Target) -> Result<Option<PathBuf>, UsageError> {
    match (&args.unix_socket, &target.socket) {
        (Some(_), Some(_)) => {
            Err(UsageError::Conflict("the socket is named twice: by the URL and by --unix-socket"))
        }
        (named, of_url) => Ok(named.as_ref().or(of_url.as_ref()).cloned()),
    }
}

fn load(args: &RunArgs) -> Result<Load, UsageError> {
    let rate = |rate: f64| rate.is_finite() && (0.0..=MAX_RATE).contains(&rate);
    if let Some(per_second) = args.rate {
        if !rate(per_second) || per_second == 0.0 {
            return Err(value("-R", &per_second.to_string(), "requests per second, above 0", "2000"));
        }
        return Ok(Load::Open { from: per_second, to: per_second });
    }
    let Some(ramp) = &args.ramp else { return Ok(Load::Closed) };
    let parsed = ramp.split_once(':').and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
    match parsed.filter(|&(from, to)| rate(from) && rate(to) && from + to > 0.0) {
        Some((from, to)) => Ok(Load::Open { from, to }),
        None => Err(value("--ramp", ramp, "two rates, requests per second", "100:5000")),
    }
}

fn duration(args: &RunArgs, load: &Load) -> Result<Option<Duration>, UsageError> {
    let given = optional_time("-d", args.duration.as_deref())?;
    Ok(match (given, args.requests, load) {
        (Some(duration), ..) => Some(duration),
        _ if args.find_max.is_some() => Some(DEFAULT_STEP),
        (None, Some(_), Load::Open { from, to }) if from != to => {
            return Err(UsageError::Conflict("--ramp needs a duration (such as -d 30s)"));
        }
        (None, None, Load::Open { .. }) => Some(DEFAULT_DURATION),
        _ => None,
    })
}

fn connections(args: &RunArgs, stop_after: Option<u64>) -> Result<usize, UsageError> {
    let expects = "a number from 1 to 100000";
    let wanted = bounded("-c", args.connections, 1..=MAX_CONNECTIONS, expects, "64")?;
    // A connection that can never get a request is not worth making.
    Ok(stop_after.map_or(wanted, |n| wanted.min(usize::try_from(n).unwrap_or(usize::MAX))))
}

fn threads(args: &RunArgs, connections: usize) -> Result<usize, UsageError> {
    let cores = available_parallelism().map_or(1, usize::from);
    let wanted = args.threads.unwrap_or(cores);
    Ok(bounded("-t", wanted, 1..=1024, "a number from 1 to 1024", "2")?.min(connections))
}

fn requests(args: &RunArgs, target: &Target) -> Result<Vec<Request>, UsageError> {
    let common = Common { headers: parse_headers(&args.headers)?, keepalive: !args.no_keepalive };
    if !args.mix.is_empty() {
        let entries = args.mix.iter().map(|entry| Request::from_mix(entry, target, &common));
        return Ok(entries.collect::<Result<_, _>>()?);
    }
    let body = match (&args.body, &args.body_file) {
        (Some(body), _) => Bytes::from(body.clone()),
        (None, Some(path)) => Bytes::from(
            std::fs::read(path).map_err(|source| UsageError::Body { path: path.clone(), source })?,
        ),
        (None, None) => Bytes::new(),
    };
    let method = args.method.as_deref().unwrap_or(if body.is_empty() { "GET" } else { "POST" });
    Ok(vec![Request::new(target, &parse_method(method)?, &target.path, body, 1, &common)?])
}

fn json_path(path: &str) -> Result<Vec<String>, UsageError> {
    let keys: Vec<String> = path.trim_start_matches("$.").split('.').map(str::to_owned).collect();
    if keys.iter().any(String::is_empty) {
        return Err(value("--worker-json", path, "keys between dots", "worker.id"));
    }
    Ok(keys)
}

fn optional_time(flag: &'static str, text: Option<&str>) -> Result<Option<Duration>, UsageError> {
    text.map(|text| time(flag, text)).transpose()
}

fn time(flag: &'static str, text: &str) -> Result<Duration, UsageError> {
    // As in wrk, a bare number is seconds.
    let bare = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let parsed = if bare { parse_time(&format!("{text}s")) } else { parse_time(text) };
    let parsed = parsed.or_else(|| humantime::parse_duration(text).ok());
    parsed
        .filter(|time| !time.is_zero() && *time <= Duration::from_secs(31 * 86_400))
        .ok_or_else(|| value(flag, text, "a time above 0", "10s"))
}

fn bounded(
    flag: &'static str,
    number: usize,
    range: std::ops::RangeInclusive<usize>,
    expects: &'static str,
    example: &'static str,
) -> Result<usize, UsageError> {
    if range.contains(&number) { Ok(number) } else { Err(value(flag, &number.to_string(), expects, example)) }
}

fn value(flag: &'static str, value: &str, expects: &'static str, example: &'static str) -> UsageError {
    UsageError::Value { flag, value: value.to_owned(), expects, example }
}

#[cfg(test)]
mod tests;
