//! The validated configuration: parsed once, from [`Options`] and [`Sources`].

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use shared::config::{
    ConfigError, Level, Setting, Sources, parse_bool, parse_duration, parse_host, settings,
};
use shared::store::RedisUrl;
use shared::telemetry::{LogFormat, Telemetry};

use crate::cli::Options;
use crate::supervisor::probe::Probing;
use crate::supervisor::slot::Limits;

/// More workers than this is taken for a slip of the finger.
const MAX_WORKERS: u32 = 512;
/// `manual` without a count.
const MANUAL_WORKERS: u32 = 4;

const WORKERS: Setting = Setting {
    flag: Some("workers"),
    variable: "CLUSTER_WORKERS",
    expects: "a whole number from 1 to 512",
    example: "4",
};
const MODE: Setting = Setting {
    flag: Some("cluster"),
    variable: "CLUSTER_MODE",
    expects: "auto, manual or off",
    example: "auto",
};
const ENABLED: Setting =
    Setting { flag: None, variable: "CLUSTER_ENABLED", expects: "true or false", example: "true" };
const DRAIN_TIMEOUT: Setting = duration("drain-timeout", "CLUSTER_DRAIN_TIMEOUT", "30s");
const STARTUP_TIMEOUT: Setting = duration("startup-timeout", "CLUSTER_STARTUP_TIMEOUT", "30s");
const KILL_TIMEOUT: Setting = duration("kill-timeout", "CLUSTER_KILL_TIMEOUT", "5s");
const HEALTH_INTERVAL: Setting = duration("health-interval", "CLUSTER_HEALTH_INTERVAL", "2s");
const HEALTH_TIMEOUT: Setting = duration("health-timeout", "CLUSTER_HEALTH_TIMEOUT", "1s");
const HEALTH_PATH: Setting = Setting {
    flag: Some("health-path"),
    variable: "CLUSTER_HEALTH_PATH",
    expects: "a path that begins with /",
    example: "/health",
};
const HEALTH_FALL: Setting = count("health-fall", "CLUSTER_HEALTH_FALL", "3");
const HEALTH_RISE: Setting = count("health-rise", "CLUSTER_HEALTH_RISE", "1");

const fn duration(flag: &'static str, variable: &'static str, example: &'static str) -> Setting {
    Setting { flag: Some(flag), variable, expects: "a duration above zero such as 500ms, 30s or 1m", example }
}

const fn count(flag: &'static str, variable: &'static str, example: &'static str) -> Setting {
    Setting { flag: Some(flag), variable, expects: "a whole number from 1 to 100", example }
}

#[derive(Debug, Clone)]
pub struct Config {
    pub mode: Mode,
    pub listen: SocketAddr,
    pub redis_url: Option<RedisUrl>,
    pub state_dir: Option<PathBuf>,
    pub drain_timeout: Duration,
    pub limits: Limits,
    pub probing: Probing,
    pub crash_enabled: bool,
    pub telemetry: Telemetry,
    /// What `.env` set, for the workers.
    pub dotenv: Vec<(String, OsString)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Cluster {
        workers: u32,
    },
    /// One process that serves the API itself.
    Single,
}

impl Config {
    /// # Errors
    /// For the first value that does not parse, or that contradicts another.
    pub fn new(options: &Options, sources: &Sources) -> Result<Self, ConfigError> {
        let read = Reader { sources };
        let host = read.or(&settings::HOST, &options.host, parse_host, IpAddr::V4(Ipv4Addr::LOCALHOST))?;
        let port = read.or(&settings::PORT, &options.port, |text| text.parse().ok(), 3100)?;
        let fall = read.or(&HEALTH_FALL, &options.health_fall, parse_count, 3)?;
        let rise = read.or(&HEALTH_RISE, &options.health_rise, parse_count, 1)?;
        let seconds = Duration::from_secs;
        Ok(Self {
            mode: mode(options, sources)?,
            listen: SocketAddr::new(host, port),
            redis_url: sources.read_secret(
                &settings::REDIS_URL,
                options.redis_url.as_deref(),
                RedisUrl::parse,
            )?,
            state_dir: sources
                .read(&settings::STATE_DIR, options.state_dir.as_deref(), |dir| Some(PathBuf::from(dir)))?,
            drain_timeout: read.or(&DRAIN_TIMEOUT, &options.drain_timeout, parse_duration, seconds(30))?,
            limits: Limits {
                startup: read.or(&STARTUP_TIMEOUT, &options.startup_timeout, parse_duration, seconds(30))?,
                kill: read.or(&KILL_TIMEOUT, &options.kill_timeout, parse_duration, seconds(5))?,
                fall,
                rise,
            },
            probing: Probing {
                path: read.or(&HEALTH_PATH, &options.health_path, parse_path, "/health".to_owned())?,
                interval: read.or(&HEALTH_INTERVAL, &options.health_interval, parse_duration, seconds(2))?,
                timeout: read.or(&HEALTH_TIMEOUT, &options.health_timeout, parse_duration, seconds(1))?,
            },
            crash_enabled: read.or(&settings::CRASH_ENABLED, &None, parse_bool, host.is_loopback())?,
            telemetry: Telemetry {
                format: read.or(
                    &settings::LOG_FORMAT,
                    &options.log_format,
                    |text| text.parse().ok(),
                    LogFormat::for_stderr(),
                )?,
                filter: read.or(&settings::LOG_FILTER, &None, parse_filter, default_filter())?,
                timestamps: true,
            },
            dotenv: sources.from_dotenv().map(|(name, value)| (name.to_owned(), value.into())).collect(),
        })
    }
}

struct Reader<'a> {
    sources: &'a Sources,
}

impl Reader<'_> {
    fn or<T>(
        &self,
        setting: &Setting,
        flag: &Option<String>,
        parse: impl FnOnce(&str) -> Option<T>,
        default: T,
    ) -> Result<T, ConfigError> {
        Ok(self.sources.read(setting, flag.as_deref(), parse)?.unwrap_or(default))
    }
}

/// Pingora reports each failed request, and each kept connection that another
/// thread was still letting go of, as an error; the balancer says what matters
/// about those itself.
fn default_filter() -> String {
    "info,pingora_core=off".to_owned()
}

fn parse_filter(text: &str) -> Option<String> {
    Telemetry::is_valid_filter(text).then(|| text.to_owned())
}

fn parse_count(text: &str) -> Option<u32> {
    text.parse().ok().filter(|count| (1..=100).contains(count))
}

fn parse_workers(text: &str) -> Option<u32> {
    text.parse().ok().filter(|count| (1..=MAX_WORKERS).contains(count))
}

fn parse_path(text: &str) -> Option<String> {
    let fits = text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| text.to_owned())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Auto,
    Manual,
    Off,
}

/// Who has the last word: the stronger source; between equals an explicit mode
/// beats a count, so that `auto` and a count kept for `manual` can stand side by
/// side in `.env`. On the command line, where nobody keeps things, that is refused.
fn mode(options: &Options, sources: &Sources) -> Result<Mode, ConfigError> {
    let kind = sources.read_with_level(&MODE, options.cluster.as_deref(), |text| match text {
        "auto" => Some(Kind::Auto),
        "manual" => Some(Kind::Manual),
        "off" => Some(Kind::Off),
        _ => None,
    })?;
    let workers = sources.read_with_level(&WORKERS, options.workers.as_deref(), parse_workers)?;
    let enabled = sources.read_with_level(&ENABLED, None, parse_bool)?;
    if let (Some((Kind::Auto | Kind::Off, Level::Flag)), Some((_, Level::Flag))) = (kind, workers) {
        let mode = options.cluster.as_deref().unwrap_or_default();
        return Err(ConfigError::Conflict(format!(
            "--workers and --cluster {mode} contradict each other: leave one out, for example --workers 4"
        )));
    }
    let level = |found: Option<Level>| found.unwrap_or(Level::Default);
    let (kind_level, workers_level) = (level(kind.map(|k| k.1)), level(workers.map(|w| w.1)));
    if let Some((false, disabled_level)) = enabled
        && disabled_level >= kind_level.max(workers_level)
    {
        return Ok(Mode::Single);
    }
    let count = workers.map(|(count, _)| count);
    let kind = match kind {
        Some((kind, _)) if kind_level >= workers_level => kind,
        _ if count.is_some() => Kind::Manual,
        _ => Kind::Auto,
    };
    Ok(match kind {
        Kind::Off => Mode::Single,
        Kind::Manual => Mode::Cluster { workers: count.unwrap_or(MANUAL_WORKERS) },
        Kind::Auto => Mode::Cluster { workers: usable_cpus() },
    })
}

/// CPUs that this process may use: affinity and cgroup quota respected.
fn usable_cpus() -> u32 {
    let cpus = std::thread::available_parallelism().map_or(1, NonZero::get);
    u32::try_from(cpus).unwrap_or(MAX_WORKERS).min(MAX_WORKERS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(variables: &[(&str, &str)], dotenv: &str) -> Sources {
        let variables = variables.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect();
        Sources::from_parts(variables, dotenv).unwrap()
    }

    fn flags(cluster: Option<&str>, workers: Option<&str>) -> Options {
        let own = |text: Option<&str>| text.map(str::to_owned);
        Options { cluster: own(cluster), workers: own(workers), ..Options::default() }
    }

    fn resolve(options: &Options, variables: &[(&str, &str)], dotenv: &str) -> Mode {
        mode(options, &sources(variables, dotenv)).unwrap()
    }

    #[test]
    fn the_stronger_source_decides_the_mode() {
        let auto = Mode::Cluster { workers: usable_cpus() };
        let four = Mode::Cluster { workers: 4 };
        let none = flags(None, None);
        assert_eq!(resolve(&none, &[], ""), auto);
        assert_eq!(resolve(&flags(Some("manual"), None), &[], ""), four);
        assert_eq!(
            resolve(&flags(None, Some("3")), &[("CLUSTER_MODE", "off")], ""),
            Mode::Cluster { workers: 3 }
        );
        assert_eq!(
            resolve(&flags(None, Some("3")), &[("CLUSTER_ENABLED", "false")], ""),
            Mode::Cluster { workers: 3 }
        );
        assert_eq!(resolve(&flags(Some("off"), None), &[("CLUSTER_WORKERS", "6")], ""), Mode::Single);
        assert_eq!(resolve(&flags(Some("auto"), None), &[("CLUSTER_WORKERS", "6")], ""), auto);
        assert_eq!(
            resolve(&flags(Some("manual"), None), &[("CLUSTER_WORKERS", "6")], ""),
            Mode::Cluster { workers: 6 }
        );
        assert_eq!(resolve(&none, &[("CLUSTER_WORKERS", "6")], ""), Mode::Cluster { workers: 6 });
        assert_eq!(
            resolve(&none, &[("CLUSTER_ENABLED", "false"), ("CLUSTER_MODE", "auto")], ""),
            Mode::Single
        );
        assert_eq!(resolve(&none, &[], "CLUSTER_MODE=auto\nCLUSTER_WORKERS=6\n"), auto);
        assert_eq!(
            resolve(&none, &[("CLUSTER_WORKERS", "2")], "CLUSTER_MODE=off\n"),
            Mode::Cluster { workers: 2 }
        );
    }

    #[test]
    fn contradicting_flags_are_refused() {
        let err = mode(&flags(Some("off"), Some("4")), &sources(&[], "")).unwrap_err();
        assert!(err.to_string().contains("--workers and --cluster off contradict"), "{err}");
    }

    #[test]
    fn worker_counts_are_bounded() {
        for bad in ["0", "-1", "513", "four", "4.0", ""] {
            let err = mode(&flags(None, Some(bad)), &sources(&[], "")).unwrap_err().to_string();
            assert!(err.contains("--workers") && err.contains("from 1 to 512"), "{bad}: {err}");
        }
    }

    #[test]
    fn crash_follows_the_host_unless_told() {
        let enabled = |host: &str, variables: &[(&str, &str)]| {
            let options = Options { host: Some(host.to_owned()), ..Options::default() };
            Config::new(&options, &sources(variables, "")).unwrap().crash_enabled
        };
        assert!(enabled("127.0.0.1", &[]));
        assert!(enabled("::1", &[]));
        assert!(!enabled("0.0.0.0", &[]));
        assert!(enabled("0.0.0.0", &[("CLUSTER_CRASH_ENABLED", "true")]));
    }

    #[test]
    fn health_paths_are_paths() {
        assert_eq!(parse_path("/health?x=1"), Some("/health?x=1".to_owned()));
        for bad in ["", "health", "/a b", "/a\r\n"] {
            assert_eq!(parse_path(bad), None, "{bad:?}");
        }
    }
}
