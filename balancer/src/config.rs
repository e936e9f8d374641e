//! The validated configuration: parsed once, from [`Options`] and [`Sources`].

mod admin;
mod mode;
mod names;
mod program;
pub(crate) mod traffic;

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use shared_settings::{
    ConfigError, Setting, Sources, parse_bool, parse_duration, parse_host, parse_socket_path, settings,
};
use shared_store::RedisUrl;
use shared_telemetry::{LogFormat, Telemetry};

use crate::cli::Options;
use admin::{Admin, parse_admin, parse_names};
use balancer_pool::Balancing;
use balancer_proxy::ProxyLimits;
use balancer_supervisor::probe::{Check, Probing};
use balancer_supervisor::process::Program;
use balancer_supervisor::RecyclePolicy;
use balancer_supervisor::Limits;
use mode::mode;
use names::{
    ADMIN, ADMIN_HOSTS, DRAIN_TIMEOUT, HEALTH_FALL, HEALTH_INTERVAL, HEALTH_PATH, HEALTH_RISE,
    HEALTH_TIMEOUT, KILL_TIMEOUT, MAX_CONNECTIONS, MAX_LIFETIME, MAX_MEMORY, MAX_REQUESTS, RELOAD_PARALLEL,
    STARTUP_TIMEOUT, STICKY_SECRET,
};
use program::program;
use traffic::Secret;

/// Variables that are no business of workers.
pub(crate) const PRIVATE: [&str; 1] = [STICKY_SECRET.variable];

#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) mode: Mode,
    pub(crate) listen: SocketAddr,
    pub(crate) redis_url: Option<RedisUrl>,
    pub(crate) state_dir: Option<PathBuf>,
    pub(crate) limits: Limits,
    pub(crate) probing: Probing,
    pub(crate) recycling: RecyclePolicy,
    pub(crate) reload_parallel: usize,
    pub(crate) balancing: Balancing,
    /// What the sticky cookie is signed with, if somebody chose.
    pub(crate) sticky_secret: Option<Secret>,
    pub(crate) rules: ProxyLimits,
    /// Connections of clients, if somebody chose.
    pub(crate) max_connections: Option<usize>,
    pub(crate) access_log: Option<balancer_access_log::Settings>,
    pub(crate) program: Program,
    /// Where the admin listener listens, if at all.
    pub(crate) admin: Option<SocketAddr>,
    /// Names under which it may be asked, besides addresses and localhost.
    pub(crate) admin_hosts: Vec<String>,
    /// Where the control socket lies, if somebody chose.
    pub(crate) control: Option<PathBuf>,
    pub(crate) crash_enabled: bool,
    pub(crate) telemetry: Telemetry,
    /// What `.env` set, for the workers.
    pub(crate) dotenv: Vec<(String, OsString)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Cluster {
        workers: u32,
    },
    /// One process that serves the API itself.
    Single,
}

impl Config {
    /// # Errors
    /// For the first value that does not parse, or that contradicts another.
    pub(crate) fn new(
        options: &Options,
        command: &[OsString],
        sources: &Sources,
    ) -> Result<Self, ConfigError> {
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
            control: sources.read(&settings::CONTROL, options.control.as_deref(), parse_socket_path)?,
            recycling: RecyclePolicy {
                max_memory: sources.read(&MAX_MEMORY, options.max_memory.as_deref(), parse_bytes)?,
                max_requests: sources.read(&MAX_REQUESTS, options.max_requests.as_deref(), parse_positive)?,
                max_lifetime: sources.read(&MAX_LIFETIME, options.max_lifetime.as_deref(), parse_duration)?,
            },
            balancing: traffic::balancing(&options.balancing, sources)?,
            sticky_secret: traffic::sticky_secret(sources)?,
            rules: traffic::rules(&options.clients, sources)?,
            max_connections: sources.read(
                &MAX_CONNECTIONS,
                options.clients.max_connections.as_deref(),
                |text| text.parse().ok().filter(|&count| count > 0),
            )?,
            access_log: traffic::access_log(&options.access_log, sources)?,
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
            dotenv: sources
                .from_dotenv()
                .filter(|(name, _)| !PRIVATE.contains(name))
                .map(|(name, value)| (name.to_owned(), value.into()))
                .collect(),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(variables: &[(&str, &str)], dotenv: &str) -> Sources {
        let variables = variables.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect();
        Sources::from_parts(variables, dotenv).unwrap()
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
    fn amounts_of_memory_have_units() {
        assert_eq!(parse_bytes("512MiB"), Some(512 << 20));
        assert_eq!(parse_bytes("1GB"), Some(1_000_000_000));
        for bad in ["0", "", "-1", "lots", "5 parsecs"] {
            assert_eq!(parse_bytes(bad), None, "{bad:?}");
        }
    }
}
