//! The validated configuration: parsed once, from [`Options`] and [`Sources`].

use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use shared::config::{
    ConfigError, Level, Setting, Sources, parse_bool, parse_duration, parse_host, settings,
};
use shared::store::RedisUrl;
use shared::telemetry::{LogFormat, Telemetry};

use crate::cli::Options;
use crate::supervisor::probe::{Check, Probing};
use crate::supervisor::process::Program;
use crate::supervisor::recycle::Recycling;
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
    expects: "a path that begins with /, or tcp",
    example: "/health",
};
const ADMIN: Setting = Setting {
    flag: Some("admin"),
    variable: "CLUSTER_ADMIN",
    expects: "an IP address with a port, a port, or off",
    example: "127.0.0.1:3180",
};
const ADMIN_HOSTS: Setting = Setting {
    flag: None,
    variable: "CLUSTER_ADMIN_HOSTS",
    expects: "host names with commas between them",
    example: "balancer,metrics.example.org",
};
pub const CONTROL: Setting = Setting {
    flag: Some("control"),
    variable: "CLUSTER_CONTROL",
    expects: "a path for a Unix socket of at most 107 bytes",
    example: "/run/cluster/control.sock",
};
const RELOAD_PARALLEL: Setting = count("reload-parallel", "CLUSTER_RELOAD_PARALLEL", "2");
const MAX_MEMORY: Setting = Setting {
    flag: Some("max-memory"),
    variable: "CLUSTER_MAX_MEMORY",
    expects: "an amount of memory such as 256MiB or 1GB",
    example: "512MiB",
};
const MAX_REQUESTS: Setting = Setting {
    flag: Some("max-requests"),
    variable: "CLUSTER_MAX_REQUESTS",
    expects: "a whole number above zero",
    example: "10000",
};
const MAX_LIFETIME: Setting = duration("max-lifetime", "CLUSTER_MAX_LIFETIME", "12h");
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
    pub limits: Limits,
    pub probing: Probing,
    pub recycling: Recycling,
    pub reload_parallel: usize,
    pub program: Program,
    /// Where the admin listener listens, if at all.
    pub admin: Option<SocketAddr>,
    /// Names under which it may be asked, besides addresses and localhost.
    pub admin_hosts: Vec<String>,
    /// Where the control socket lies, if somebody chose.
    pub control: Option<PathBuf>,
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
    pub fn new(options: &Options, command: &[OsString], sources: &Sources) -> Result<Self, ConfigError> {
        let read = Reader { sources };
        let host = read.or(&settings::HOST, &options.host, parse_host, IpAddr::V4(Ipv4Addr::LOCALHOST))?;
        let port = read.or(&settings::PORT, &options.port, |text| text.parse().ok(), 3100)?;
        let fall = read.or(&HEALTH_FALL, &options.health_fall, parse_count, 3)?;
        let rise = read.or(&HEALTH_RISE, &options.health_rise, parse_count, 1)?;
        let seconds = Duration::from_secs;
        let drain = read.or(&DRAIN_TIMEOUT, &options.drain_timeout, parse_duration, seconds(30))?;
        let mode = mode(options, sources)?;
        Ok(Self {
            mode,
            program: program(mode, command)?,
            admin: read.or(&ADMIN, &options.admin, parse_admin, Admin::Default)?.address(port),
            admin_hosts: sources.read(&ADMIN_HOSTS, None, parse_names)?.unwrap_or_default(),
            control: sources.read(&CONTROL, options.control.as_deref(), parse_socket)?,
            recycling: Recycling {
                max_memory: sources.read(&MAX_MEMORY, options.max_memory.as_deref(), parse_bytes)?,
                max_requests: sources.read(&MAX_REQUESTS, options.max_requests.as_deref(), parse_positive)?,
                max_lifetime: sources.read(&MAX_LIFETIME, options.max_lifetime.as_deref(), parse_duration)?,
            },
            reload_parallel: read.or(&RELOAD_PARALLEL, &options.reload_parallel, parse_count, 1)? as usize,
            listen: SocketAddr::new(host, port),
            redis_url: sources.read_secret(
                &settings::REDIS_URL,
                options.redis_url.as_deref(),
                RedisUrl::parse,
            )?,
            state_dir: sources
                .read(&settings::STATE_DIR, options.state_dir.as_deref(), |dir| Some(PathBuf::from(dir)))?,
            limits: Limits {
                drain,
                startup: read.or(&STARTUP_TIMEOUT, &options.startup_timeout, parse_duration, seconds(30))?,
                kill: read.or(&KILL_TIMEOUT, &options.kill_timeout, parse_duration, seconds(5))?,
                fall,
                rise,
            },
            probing: Probing {
                check: read.or(
                    &HEALTH_PATH,
                    &options.health_path,
                    parse_check,
                    Check::Http("/health".to_owned()),
                )?,
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

fn parse_check(text: &str) -> Option<Check> {
    if text == "tcp" {
        return Some(Check::Tcp);
    }
    let fits = text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| Check::Http(text.to_owned()))
}

fn parse_bytes(text: &str) -> Option<u64> {
    text.parse().ok().map(|size: ByteSize| size.as_u64()).filter(|&bytes| bytes > 0)
}

fn parse_positive(text: &str) -> Option<u64> {
    text.parse().ok().filter(|&number| number > 0)
}

/// A longer path does not fit a socket's address (unix(7)).
pub fn parse_socket(text: &str) -> Option<PathBuf> {
    (1..=107).contains(&text.len()).then(|| PathBuf::from(text))
}

fn parse_names(text: &str) -> Option<Vec<String>> {
    let names: Vec<_> = text.split(',').map(|name| name.trim().to_ascii_lowercase()).collect();
    let is_name = |name: &String| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
    };
    names.iter().all(is_name).then_some(names)
}

/// Where the admin listener is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Admin {
    /// On loopback, beside the port for clients.
    Default,
    At(SocketAddr),
    Off,
}

impl Admin {
    /// `port` is the one for clients; where that is any free one, so is this.
    fn address(self, port: u16) -> Option<SocketAddr> {
        const ABOVE: u16 = 80;
        match self {
            Self::Default => {
                let port = if port == 0 { 0 } else { port.checked_add(ABOVE).unwrap_or(0) };
                Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
            }
            Self::At(address) => Some(address),
            Self::Off => None,
        }
    }
}

fn parse_admin(text: &str) -> Option<Admin> {
    if text == "off" {
        return Some(Admin::Off);
    }
    let port = || text.parse().ok().map(|port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    text.parse().ok().or_else(port).map(Admin::At)
}

/// What is to run as workers: `command`, if there is one.
fn program(mode: Mode, command: &[OsString]) -> Result<Program, ConfigError> {
    let Some(name) = command.first() else { return Ok(Program::Bundled) };
    if mode == Mode::Single {
        return Err(ConfigError::Conflict(
            "a command needs a cluster to run in: leave out --cluster off (or CLUSTER_ENABLED=false), \
             for example --workers 1"
                .to_owned(),
        ));
    }
    if !can_be_run(name) {
        let hint = if name.as_encoded_bytes().contains(&b' ') {
            ", each a word of its own, without quotes"
        } else {
            ""
        };
        return Err(ConfigError::Conflict(format!(
            "there is no executable file {name:?}: after -- comes the program and its arguments{hint}, \
             for example -- node server.js"
        )));
    }
    Ok(Program::Command(command.to_vec()))
}

/// As execvp(3) looks for it.
fn can_be_run(name: &OsStr) -> bool {
    let is_program =
        |path: &Path| path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok();
    if name.as_encoded_bytes().contains(&b'/') {
        return is_program(Path::new(name));
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
    std::env::split_paths(&path).any(|directory| is_program(&directory.join(name)))
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
            Config::new(&options, &[], &sources(variables, "")).unwrap().crash_enabled
        };
        assert!(enabled("127.0.0.1", &[]));
        assert!(enabled("::1", &[]));
        assert!(!enabled("0.0.0.0", &[]));
        assert!(enabled("0.0.0.0", &[("CLUSTER_CRASH_ENABLED", "true")]));
    }

    #[test]
    fn health_paths_are_paths() {
        assert_eq!(parse_check("/health?x=1"), Some(Check::Http("/health?x=1".to_owned())));
        assert_eq!(parse_check("tcp"), Some(Check::Tcp));
        for bad in ["", "health", "/a b", "/a\r\n"] {
            assert_eq!(parse_check(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn the_admin_listener_lies_beside_the_port_for_clients() {
        let at = |text: &str, port| parse_admin(text).map(|admin| admin.address(port).map(|a| a.to_string()));
        assert_eq!(Admin::Default.address(3100).unwrap().to_string(), "127.0.0.1:3180");
        assert_eq!(Admin::Default.address(0).unwrap().port(), 0);
        assert_eq!(Admin::Default.address(65_500).unwrap().port(), 0, "any free one");
        assert_eq!(at("off", 3100), Some(None));
        assert_eq!(at("9000", 3100), Some(Some("127.0.0.1:9000".to_owned())));
        assert_eq!(at("[::1]:9000", 3100), Some(Some("[::1]:9000".to_owned())));
        for bad in ["", "on", "localhost", "1.2.3.4", "70000"] {
            assert_eq!(parse_admin(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn amounts_of_memory_have_units() {
        assert_eq!(parse_bytes("512MiB"), Some(512 << 20));
        assert_eq!(parse_bytes("1GB"), Some(1_000_000_000));
        for bad in ["0", "", "-1", "lots", "5 parsecs"] {
            assert_eq!(parse_bytes(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_command_must_exist_and_have_a_cluster() {
        let line = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        let cluster = Mode::Cluster { workers: 2 };
        assert!(matches!(program(cluster, &[]), Ok(Program::Bundled)));
        assert!(matches!(program(cluster, &line(&["sh", "-c", "x"])), Ok(Program::Command(_))));
        for (mode, words) in
            [(Mode::Single, ["sh"]), (cluster, ["no-such-program"]), (cluster, ["/etc/passwd"])]
        {
            assert!(program(mode, &line(&words)).is_err(), "{words:?}");
        }
    }
}
