//! The validated configuration: parsed once, from all sources of settings.

mod log;
mod mode;
mod program;
mod traffic;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::num::NonZero;
use std::path::PathBuf;

use shared_settings::definitions::{
    ADMIN, ADMIN_HOSTS, CONTROL, DRAIN_TIMEOUT, HANG_TIMEOUT, HEALTH_FALL, HEALTH_INTERVAL, HEALTH_PATH,
    HEALTH_RISE, HEALTH_TIMEOUT, KILL_TIMEOUT, MAX_CONNECTIONS, MAX_LIFETIME, MAX_MEMORY,
    MAX_REQUESTS, RESPONSE_TIMEOUT, START_PARALLEL, STARTUP_TIMEOUT, STICKY_SECRET,
    private_variables,
};
use shared_settings::{Admin, ConfigError, Settings};
use shared_telemetry::Telemetry;

use balancer_pool::Balancing;
use balancer_proxy::ProxyLimits;
use balancer_supervisor::output::OutputMode;
use balancer_supervisor::probe::{Check, Probing};
use balancer_supervisor::process::Program;
use balancer_supervisor::{Limits, RecyclePolicy, StartPolicy};

pub(crate) use mode::Mode;
use mode::mode;
use program::program;
use traffic::Secret;

#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) mode: Mode,
    /// Settings of the bundled worker, also where it is the single process. Host,
    /// port and the place of shared state are the cluster's as well.
    pub(crate) worker: worker::Config,
    pub(crate) program: Program,
    pub(crate) limits: Limits,
    pub(crate) probing: Probing,
    pub(crate) recycling: RecyclePolicy,
    pub(crate) starts: StartPolicy,
    pub(crate) balancing: Balancing,
    /// The key of the sticky cookie's signature, if somebody has chosen one.
    pub(crate) sticky_secret: Option<Secret>,
    pub(crate) proxy_limits: ProxyLimits,
    /// Connections of clients at a time, if somebody has chosen a limit.
    pub(crate) max_connections: Option<usize>,
    pub(crate) access_log: Option<balancer_access_log::Settings>,
    /// Address of the admin listener, if there is to be one.
    pub(crate) admin: Option<SocketAddr>,
    /// Names under which the admin listener may be asked, besides addresses and localhost.
    pub(crate) admin_hosts: Vec<String>,
    /// Path of the control socket, if somebody has chosen one.
    pub(crate) control: Option<PathBuf>,
    pub(crate) telemetry: Telemetry,
    /// How lines of workers come out.
    pub(crate) worker_output: OutputMode,
    /// What `.env` has set, for the workers.
    pub(crate) dotenv: Vec<(String, OsString)>,
}

impl Config {
    /// # Errors
    /// For the first value that does not parse, or that contradicts another.
    pub(crate) fn new(settings: &Settings, command: &[OsString]) -> Result<Self, ConfigError> {
        let mode = mode(settings)?;
        // Workers would refuse a bad value of their own only after they were started.
        let mut worker = worker::Config::new(settings)?;
        let log::Log { telemetry, worker_output } = log::log(settings, command.is_empty())?;
        if let Some(filter) = log::own_filter(settings)?.filter(|_| mode == Mode::Single) {
            worker.telemetry.filter = filter;
        }
        Ok(Self {
            mode,
            program: program(mode, command)?,
            limits: Limits {
                drain: settings.get(&DRAIN_TIMEOUT)?,
                startup: settings.get(&STARTUP_TIMEOUT)?,
                kill: settings.get(&KILL_TIMEOUT)?,
                // What is answered with a timeout is in nobody's hand any more.
                hang: settings.get(&HANG_TIMEOUT)?.min(settings.get(&RESPONSE_TIMEOUT)?),
                fall: settings.get(&HEALTH_FALL)?,
                rise: settings.get(&HEALTH_RISE)?,
            },
            probing: Probing {
                check: settings.get_as(&HEALTH_PATH, parse_check)?,
                interval: settings.get(&HEALTH_INTERVAL)?,
                timeout: settings.get(&HEALTH_TIMEOUT)?,
            },
            recycling: RecyclePolicy {
                max_memory: settings.find(&MAX_MEMORY)?,
                max_requests: settings.find(&MAX_REQUESTS)?,
                max_lifetime: settings.find(&MAX_LIFETIME)?,
            },
            starts: StartPolicy {
                parallel: settings.find(&START_PARALLEL)?.map(|parallel| parallel as usize),
                processors: std::thread::available_parallelism().map_or(1, NonZero::get),
            },
            balancing: traffic::balancing(settings)?,
            sticky_secret: settings.find_secret(&STICKY_SECRET, Secret::parse)?,
            proxy_limits: traffic::proxy_limits(settings)?,
            max_connections: settings.find(&MAX_CONNECTIONS)?,
            access_log: traffic::access_log(settings)?,
            admin: Admin::address(settings.find(&ADMIN)?, worker.port),
            admin_hosts: settings.find(&ADMIN_HOSTS)?.unwrap_or_default(),
            control: settings.find(&CONTROL)?,
            telemetry,
            worker_output,
            dotenv: dotenv(settings),
            worker,
        })
    }

    /// Where clients connect.
    pub(crate) fn listen(&self) -> SocketAddr {
        self.worker.address()
    }
}

fn dotenv(settings: &Settings) -> Vec<(String, OsString)> {
    let is_private = |name: &str| private_variables().any(|private| private == name);
    let shared = settings.dotenv_values().filter(|(name, _)| !is_private(name));
    shared.map(|(name, value)| (name.to_owned(), value.into())).collect()
}

fn parse_check(text: &str) -> Option<Check> {
    if text == "tcp" {
        return Some(Check::Tcp);
    }
    let fits = text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| Check::Http(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crash_follows_the_host_unless_told() {
        let enabled = |variables: &[(&str, &str)]| {
            let settings = Settings::from_parts(variables, "").unwrap();
            Config::new(&settings, &[]).unwrap().worker.crash_enabled
        };
        assert!(enabled(&[("HOST", "127.0.0.1")]));
        assert!(enabled(&[("HOST", "::1")]));
        assert!(!enabled(&[("HOST", "0.0.0.0")]));
        assert!(enabled(&[("HOST", "0.0.0.0"), ("CLUSTER_CRASH_ENABLED", "true")]));
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
    fn workers_get_what_dotenv_has_set_but_not_the_secrets_of_the_balancer() {
        let text = "CLUSTER_STICKY_SECRET=0123456789abcdef\nREDIS_URL=redis://h\nMY_OWN=1\n";
        let settings = Settings::from_parts(&[("REDIS_URL", "redis://other")], text).unwrap();
        assert_eq!(dotenv(&settings), [("MY_OWN".to_owned(), "1".into())]);
    }
}
