//! The validated configuration: parsed once, from all sources of settings.

mod acme;
mod affinity;
mod chosen;
mod diagnosis;
mod dispatch;
mod files;
mod limits;
mod listen;
mod log;
mod mode;
mod place;
mod program;
mod tls;
mod traffic;
mod without_effect;

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use shared_protocol::ReloadMode;
use shared_settings::definitions::{
    ADMIN, ADMIN_HOSTS, CONTROL, CRASH_ENABLED, ERROR_PAGES, GIVE_UP_AFTER, HEALTH_HOST, HEALTH_INTERVAL,
    HEALTH_PATH, HEALTH_STATUS, HEALTH_TIMEOUT, MAX_CONNECTIONS, MAX_LIFETIME, MAX_MEMORY, MAX_REQUESTS,
    SCALE_DOWN_AFTER, SHUTDOWN_DELAY, START_PARALLEL, private_variables,
};
use shared_settings::{Admin, ConfigError, Listeners, Settings};
use shared_telemetry::Telemetry;

use balancer_pool::Balancing;
use balancer_proxy::ProxyLimits;
use balancer_supervisor::output::OutputMode;
use balancer_supervisor::probe::{Check, Probing, Statuses};
use balancer_supervisor::process::Program;
use balancer_supervisor::{Limits, RecyclePolicy, StartPolicy};

use affinity::Affinity;
use chosen::Chosen;
pub(crate) use diagnosis::Diagnosis;
pub(crate) use dispatch::Dispatch;
use dispatch::dispatch;
pub(crate) use listen::{ClientListener, Listening};
pub(crate) use mode::Mode;
use mode::mode;
pub(crate) use program::find_executable;
use program::program;
use without_effect::without_effect;

#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) mode: Mode,
    /// Where clients connect.
    pub(crate) listening: Listening,
    /// How they get to workers.
    pub(crate) dispatch: Dispatch,
    /// Settings of the bundled worker, also where it is the single process. Host,
    /// port and the place of shared state are the cluster's as well.
    pub(crate) worker: worker::Config,
    pub(crate) program: Program,
    /// Where workers are started; absolute, and may lead through links.
    pub(crate) directory: PathBuf,
    pub(crate) files: files::Files,
    pub(crate) limits: Limits,
    /// How long the cluster serves on after it was told to stop.
    pub(crate) shutdown_delay: Duration,
    /// How workers are replaced as planned.
    pub(crate) reload_mode: ReloadMode,
    /// How long requests in flight may take on shutdown.
    pub(crate) stop_timeout: Duration,
    pub(crate) probing: Probing,
    pub(crate) recycling: RecyclePolicy,
    pub(crate) starts: StartPolicy,
    /// How long fewer workers must have been enough, where the load chooses their number.
    pub(crate) scale_down_after: Duration,
    /// Failed starts of each slot after which a cluster ends that was never ready.
    pub(crate) give_up_after: Option<u32>,
    pub(crate) balancing: Balancing,
    pub(crate) affinity: Affinity,
    pub(crate) proxy_limits: ProxyLimits,
    /// Connections of clients at a time, if somebody has chosen a limit.
    pub(crate) max_connections: Option<usize>,
    pub(crate) access_log: Option<balancer_access_log::Settings>,
    /// Absolute, if somebody has own pages.
    pub(crate) error_pages: Option<PathBuf>,
    /// What of the places below somebody has chosen.
    pub(crate) chosen: Chosen,
    /// Address of the admin listener, if there is to be one.
    pub(crate) admin: Option<SocketAddr>,
    /// Names under which the admin listener may be asked, besides addresses and localhost.
    pub(crate) admin_hosts: Vec<String>,
    /// Path of the control socket, if somebody has chosen one.
    pub(crate) control: Option<PathBuf>,
    /// Where certificates come from, if clients speak TLS.
    pub(crate) tls: Option<balancer_tls::Sources>,
    /// Certificates that are had from an ACME server, if there are to be any.
    pub(crate) acme: Option<balancer_acme::Settings>,
    pub(crate) telemetry: Telemetry,
    /// How lines of workers come out.
    pub(crate) worker_output: OutputMode,
    /// What `.env` and `cluster.toml` have set, for bundled workers.
    pub(crate) from_files: Vec<(String, OsString)>,
    /// What does not keep the cluster from starting, and yet is to be known.
    pub(crate) warnings: Vec<String>,
}

impl Config {
    /// # Errors
    /// For the first value that does not parse, or that contradicts another.
    pub(crate) fn new(settings: &Settings, command: &[OsString]) -> Result<Self, ConfigError> {
        let mode = mode(settings)?;
        // Workers would refuse a bad value of their own only after they were started.
        let mut worker = worker::Config::new(settings)?;
        let listening = Listening::new(settings, mode)?;
        if let Some(address) = listening.first_address() {
            (worker.host, worker.port) = (address.ip(), address.port());
        }
        worker.crash_enabled = settings.find(&CRASH_ENABLED)?.unwrap_or_else(|| listening.is_loopback());
        let log::Log { telemetry, worker_output } = log::log(settings, command.is_empty())?;
        if let Some(filter) = log::own_filter(settings)?.filter(|_| mode == Mode::Single) {
            worker.telemetry.filter = filter;
        }
        let place = place::place(settings, mode)?;
        let error_pages = settings.find(&ERROR_PAGES)?.map(|pages| place.files.directory.join(pages));
        Ok(Self {
            mode,
            dispatch: dispatch(settings, mode, &listening, !command.is_empty())?,
            program: program(
                mode,
                command,
                settings.command_origin(),
                &place::find(&place.directory, &place.files)?,
            )?,
            directory: place.directory,
            files: place.files,
            limits: limits::limits(settings)?,
            shutdown_delay: settings.get(&SHUTDOWN_DELAY)?,
            reload_mode: limits::reload_mode(settings)?,
            stop_timeout: limits::stop_timeout(settings)?,
            probing: Probing {
                check: settings.get_as(&HEALTH_PATH, parse_check)?,
                interval: settings.get(&HEALTH_INTERVAL)?,
                timeout: settings.get(&HEALTH_TIMEOUT)?,
                host: settings.find(&HEALTH_HOST)?,
                statuses: settings.find_as(&HEALTH_STATUS, Statuses::parse)?,
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
            scale_down_after: settings.get(&SCALE_DOWN_AFTER)?,
            give_up_after: settings.get(&GIVE_UP_AFTER)?,
            balancing: traffic::balancing(settings)?,
            affinity: Affinity::new(settings)?,
            proxy_limits: traffic::proxy_limits(settings)?,
            max_connections: settings.find(&MAX_CONNECTIONS)?,
            access_log: traffic::access_log(settings)?,
            error_pages,
            chosen: Chosen::new(settings)?,
            admin: Admin::address(settings.find(&ADMIN)?, listening.listeners.port()),
            admin_hosts: settings.find(&ADMIN_HOSTS)?.unwrap_or_default(),
            control: settings.find(&CONTROL)?,
            tls: tls::sources(settings, mode)?,
            acme: acme::acme(settings, &listening)?,
            telemetry,
            worker_output,
            from_files: from_files(settings),
            warnings: warnings(settings),
            worker,
            listening,
        })
    }

    /// The file of the command `name`, as workers find it.
    pub(crate) fn find_command(&self, name: &OsStr) -> Option<PathBuf> {
        let found = place::find(&self.directory, &self.files).ok()?;
        found.executable(name)
    }

    /// What balancers in front ask to see how a program is. `/` is what visitors ask for, too.
    pub(crate) fn health_target(&self) -> Option<String> {
        match (&self.probing.check, &self.program) {
            (Check::Http(path), Program::Command(_)) if path != "/" => Some(path.clone()),
            _ => None,
        }
    }

    /// What balancers in front ask to see how a program is, where it may be answered in the
    /// program's place during a shutdown. `/` is what visitors ask for, too.
    pub(crate) fn public_probe(&self) -> Option<String> {
        match (&self.probing.check, &self.program) {
            (Check::Http(path), Program::Command(_)) if path != "/" && !self.shutdown_delay.is_zero() => {
                Some(path.clone())
            }
            _ => None,
        }
    }

    /// Do workers accept clients' connections themselves?
    pub(crate) fn is_direct(&self) -> bool {
        self.dispatch == Dispatch::Direct
    }

    /// Where clients connect first, of those that have an address.
    pub(crate) fn listen(&self) -> SocketAddr {
        self.worker.address()
    }
}

/// What is said at the start.
pub(crate) fn warnings(settings: &Settings) -> Vec<String> {
    let overruled = Listeners::of(settings).ok().and_then(|listeners| listeners.warning);
    settings.warnings().iter().cloned().chain(without_effect(settings)).chain(overruled).collect()
}

fn from_files(settings: &Settings) -> Vec<(String, OsString)> {
    let is_private = |name: &str| private_variables().any(|private| private == name);
    let shared = settings.file_values().filter(|(name, _)| !is_private(name));
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
            let settings = Settings::from_parts(variables, "");
            Config::new(&settings, &[]).unwrap().worker.crash_enabled
        };
        assert!(enabled(&[("HOST", "127.0.0.1")]));
        assert!(enabled(&[("HOST", "::1")]));
        assert!(!enabled(&[("HOST", "0.0.0.0")]));
        assert!(enabled(&[("HOST", "0.0.0.0"), ("CLUSTER_CRASH_ENABLED", "true")]));
    }

    #[test]
    fn statuses_are_codes_and_the_setting_is_named_where_they_are_not() {
        let of = |value| {
            let settings = Settings::from_parts(&[("CLUSTER_HEALTH_STATUS", value)], "");
            Config::new(&settings, &[])
        };
        assert!(of("200-299,404").unwrap().probing.statuses.unwrap().contains(404));
        let err = of("200-").unwrap_err().to_string();
        assert!(err.contains("--health-status") && err.contains("200-399"), "{err}");
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
        let settings = Settings::from_parts(&[("REDIS_URL", "redis://other")], text);
        assert_eq!(from_files(&settings), [("MY_OWN".to_owned(), "1".into())]);
    }
}
