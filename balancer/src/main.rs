//! The balancer: a cluster for one machine.
//!
//! ```text
//! cli → config ─► main (this file) builds and connects:
//!   supervisor ──writes──► pool, state ◄──reads── proxy ◄── listener
//!   signals, control ──commands──► supervisor ◄──reads── admin, control
//!   signals ──► shutdown: stop accepting, finish, stop workers
//! ```
//!
//! The supervisor runs on the main thread, which lives as long as the program:
//! workers are told by the kernel when the thread that started them is gone.

mod cli;
mod config;
mod fd_budget;
mod shutdown;
mod signals;
mod state_dir;
mod worker_env;

use std::ffi::OsString;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZero;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use clap::Parser;
use shared_settings::Sources;
use tokio::sync::{Semaphore, watch};
use tracing::{info, warn};

use balancer_access_log::AccessLog;
use balancer_admin::Admin;
use balancer_admin::control::{Control, ControlSocket};
use balancer_admin::feed::{About, Feed};
use balancer_ctl::{client, healthcheck};
use balancer_pool::Pool;
use balancer_pool::select::Strategy;
use balancer_proxy::listener::{self, Phase, Serving};
use balancer_proxy::sticky::Sticky;
use balancer_proxy::{OpenRequests, Proxy};
use balancer_state::ClusterState;
use balancer_supervisor::executable::Executable;
use balancer_supervisor::process::{self, Program};
use balancer_supervisor::{Handle, Supervisor, keeper, reaper};
use cli::{Cli, Options, Subcommands};
use config::{Config, Mode};
use shutdown::Shutdown;
use signals::Signals;
use state_dir::StateDir;

fn main() -> ExitCode {
    run(std::env::args_os())
}

/// Runs the program. What went wrong is on standard error, in one line.
fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<_> = arguments.into_iter().collect();
    // How a primary starts a worker. Not known to the command line's parser, as
    // it is for nobody else, and a worker that does not load that starts leaner.
    if let [_, subcommand, parent, line @ ..] = &arguments[..] {
        let parent = || parent.to_str().and_then(|pid| pid.parse().ok());
        match subcommand.to_str() {
            Some(process::WORKER_SUBCOMMAND) => return run_worker(parent()),
            Some(keeper::KEEPER_SUBCOMMAND) => return keeper::keep(parent(), line),
            Some(keeper::STARTER_SUBCOMMAND) => return keeper::start(parent(), line),
            _ => {}
        }
    }
    let cli = Cli::parse_from(arguments);
    match &cli.subcommand {
        Some(Subcommands::Control(action)) => {
            return client::run(action).unwrap_or_else(|err| complain(&err, 1));
        }
        Some(Subcommands::Healthcheck(options)) => return healthcheck::run(options),
        None => {}
    }
    let config = match configure(&cli) {
        Ok(config) => config,
        Err(err) => return complain(&err, 2),
    };
    match config.mode {
        Mode::Single => worker::run(&worker_flags(&cli.options)),
        Mode::Cluster { workers } => match run_cluster(config, workers) {
            Ok(code) => code,
            Err(err) => complain(&err, 1),
        },
    }
}

fn complain(err: &anyhow::Error, code: u8) -> ExitCode {
    // Nobody may be there to read it.
    let _ = writeln!(std::io::stderr(), "balancer: {err:#}");
    ExitCode::from(code)
}

fn configure(cli: &Cli) -> anyhow::Result<Config> {
    let directory = std::env::current_dir().context("could not find the working directory")?;
    let sources = Sources::load(&directory)?;
    let config = Config::new(&cli.options, &cli.command, &sources)?;
    // A worker would refuse a bad value of its own only after it was started.
    worker::Config::resolve(&sources, &worker_flags(&cli.options))?;
    Ok(config)
}

/// The options that a single process takes as well.
fn worker_flags(options: &Options) -> worker::Flags {
    worker::Flags {
        host: options.host.clone(),
        port: options.port.clone(),
        redis_url: options.redis_url.clone(),
        state_dir: options.state_dir.clone(),
        drain_timeout: options.drain_timeout.clone(),
        log_format: options.log_format.clone(),
    }
}

fn run_worker(primary: Option<u32>) -> ExitCode {
    if let Err(err) = process::enter(primary) {
        return complain(
            &anyhow::Error::new(err).context("a worker process is started by its primary only"),
            1,
        );
    }
    worker::run_supervised()
}

fn run_cluster(config: Config, workers: u32) -> anyhow::Result<ExitCode> {
    let _log = shared_telemetry::init(&config.telemetry)?;
    let (most_connections, most_workers) = fd_budget::share(fd_budget::raise_limit(), workers)?;
    let connections = fd_budget::bounded(most_connections, config.max_connections)?;
    let listener = bind(config.listen)?;
    let address = listener.local_addr().context("could not read the bound address")?;
    let admin = config.admin.map(bind_admin).transpose()?;
    let path =
        config.control.clone().unwrap_or_else(|| shared_settings::default_control_path(address.port()));
    let socket = ControlSocket::bind(&path)?;
    let state_dir = match (&config.program, &config.redis_url) {
        (Program::Bundled, None) => Some(StateDir::open(config.state_dir.as_deref())?),
        _ => None,
    };

    let pool = Arc::new(Pool::new(config.balancing));
    let state = ClusterState { pool, ..ClusterState::default() };
    let (access_log, _last_lines) = match &config.access_log {
        Some(settings) => AccessLog::open(settings, Arc::clone(&state.counters.access_log_dropped))?,
        None => Default::default(),
    };
    let open = OpenRequests::default();
    let mut proxy = Proxy::new(
        Arc::clone(&state.pool),
        Arc::clone(&state.registry),
        Arc::clone(&state.counters),
        open.clone(),
        config.rules.clone(),
    );
    proxy.own_routes = matches!(config.program, Program::Bundled);
    proxy.access_log = access_log.clone();
    proxy.sticky = sticky(&config)?;
    let app = Arc::new(proxy);
    let (phase, phase_seen) = watch::channel(Phase::Open);
    let reopened = access_log.clone();
    let (handle, commands) = Handle::new(move || reopened.reopen());

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("could not make the supervisor's event loop")?;
    let code = runtime.block_on(async {
        // Before the first worker is started, so that no signal finds us unprepared.
        let signals =
            Signals::install(handle.clone(), access_log).context("could not install signal handlers")?;
        let launcher = worker_env::launcher(&config, state_dir.as_ref());
        let (children, programs) = (launcher.children.clone(), matches!(config.program, Program::Command(_)));
        tokio::spawn(reaper::run(children.clone(), programs));
        let executable = Executable::own().context("could not open the own executable")?;
        let settings = balancer_supervisor::Settings {
            workers: workers as usize,
            most_workers,
            probing: config.probing.clone(),
            limits: config.limits,
            recycling: config.recycling,
            reload_parallel: config.reload_parallel,
        };
        let supervisor = Supervisor::new(settings, launcher, executable, state.clone());
        let admin_address = admin.as_ref().and_then(|admin| admin.local_addr().ok());
        operate(&config, &state, &handle, admin, socket, address)?;
        let serving = Serving {
            app: Arc::clone(&app),
            phase: phase_seen,
            permits: Arc::new(Semaphore::new(connections)),
        };
        let threads =
            listener::serve(listener, serving_threads(), &serving).context("could not start serving")?;
        let admin = admin_address.map(|address| format!("http://{address}"));
        let (pid, control) = (std::process::id(), path.display());
        info!(%address, workers, pid, admin, %control, "listening on http://{address}");
        let ClusterState { registry, events, .. } = state;
        let drain_timeout = config.limits.drain;
        let shutdown = Shutdown { registry, events, open, phase, supervisor: handle, drain_timeout };
        let code = shutdown.run(signals, supervisor.run(commands)).await;
        if programs {
            reaper::take(&children, std::process::id() != 1);
        }
        threads.join();
        anyhow::Ok(code)
    })?;
    Ok(code)
}

/// Lives in the primary, so that cookies outlive every worker.
fn sticky(config: &Config) -> anyhow::Result<Option<Sticky>> {
    if config.balancing.strategy != Strategy::Sticky {
        return Ok(None);
    }
    Ok(Some(match &config.sticky_secret {
        Some(secret) => Sticky::with_secret(secret.expose()),
        None => Sticky::random()?,
    }))
}

/// Opens what operators use: the control socket and the admin listener.
fn operate(
    config: &Config,
    state: &ClusterState,
    supervisor: &Handle,
    admin: Option<TcpListener>,
    socket: ControlSocket,
    address: SocketAddr,
) -> anyhow::Result<()> {
    let started = Instant::now();
    let bundled = matches!(config.program, Program::Bundled);
    let feed = Feed::new(About { address: address.to_string(), bundled, started });
    tokio::spawn(feed.clone().run(state.clone()));
    let control = Control {
        state: state.clone(),
        samples: Arc::clone(&feed.samples),
        supervisor: supervisor.clone(),
        address: address.to_string(),
        admin: admin.as_ref().and_then(|admin| admin.local_addr().ok()).map(|address| address.to_string()),
        started,
    };
    // The file goes away with the task, which is when the event loop ends.
    tokio::spawn(async move {
        if let Err(err) = control.serve(&socket).await {
            warn!(%err, "the control socket does not work");
        }
    });
    if let Some(admin) = admin {
        let listener =
            tokio::net::TcpListener::from_std(admin).context("could not serve the admin listener")?;
        let handler = Admin { state: state.clone(), feed, names: config.admin_hosts.clone().into() };
        tokio::spawn(balancer_admin::serve(listener, handler));
    }
    Ok(())
}

fn bind_admin(address: SocketAddr) -> anyhow::Result<TcpListener> {
    bind(address).context("no admin listener (set --admin or CLUSTER_ADMIN to another address, or to off)")
}

fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    listener::bind(address)
        .map_err(|err| shared_settings::describe_bind_error(address, &err))
        .map_err(anyhow::Error::msg)
}

/// One per CPU that this process may use.
fn serving_threads() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}
