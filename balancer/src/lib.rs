//! The balancer: a cluster for one machine.
//!
//! ```text
//! cli → config ─► lib (this file) builds and connects:
//!   supervisor ──writes──► pool, roster ◄──reads── proxy ◄── listener
//!   signals ──► shutdown: stop accepting, finish, stop workers
//! ```
//!
//! The supervisor runs on the main thread, which lives as long as the program:
//! workers are told by the kernel when the thread that started them is gone.

pub mod cli;
pub mod config;
pub mod descriptors;
pub mod http1;
pub mod listener;
pub mod pool;
pub mod proxy;
pub mod roster;
pub mod shutdown;
pub mod signals;
pub mod state_dir;
pub mod supervisor;

use std::ffi::OsString;
use std::io::Write;
use std::net::TcpListener;
use std::num::NonZero;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use shared::config::{Setting, Sources, settings};
use shared::store::RedisUrl;
use tokio::sync::{Semaphore, mpsc, watch};
use tracing::info;

use cli::{Cli, Options};
use config::{Config, Mode};
use listener::{Phase, Serving};
use pool::Pool;
use proxy::{OpenRequests, Proxy, Rules};
use roster::Roster;
use shutdown::Shutdown;
use signals::Signals;
use state_dir::StateDir;
use supervisor::Supervisor;
use supervisor::process::{self, Launcher};

/// Runs the program. What went wrong is on standard error, in one line.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<_> = arguments.into_iter().collect();
    // How a primary starts a worker. Not known to the command line's parser, as
    // it is for nobody else, and a worker that does not load that starts leaner.
    if let [_, subcommand, primary] = &arguments[..]
        && subcommand == process::WORKER_SUBCOMMAND
    {
        return run_worker(primary.to_str().and_then(|pid| pid.parse().ok()));
    }
    let cli = Cli::parse_from(arguments);
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
    let config = Config::new(&cli.options, &sources)?;
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
    let _log = shared::telemetry::init(&config.telemetry)?;
    let connections = descriptors::client_connections(descriptors::raise_limit(), workers)?;
    let listener = bind(&config)?;
    let address = listener.local_addr().context("could not read the bound address")?;
    let state_dir = match config.redis_url {
        Some(_) => None,
        None => Some(StateDir::open(config.state_dir.as_deref())?),
    };

    let (pool, roster) = (Arc::new(Pool::default()), Arc::new(Roster::default()));
    let open = OpenRequests::default();
    let app = Arc::new(Proxy::new(Arc::clone(&pool), Arc::clone(&roster), open.clone(), Rules::default()));
    let (phase, phase_seen) = watch::channel(Phase::Open);
    let (draining, draining_seen) = watch::channel(false);
    let (orders, ordered) = mpsc::channel(4);

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("could not make the supervisor's event loop")?;
    let code = runtime.block_on(async {
        // Before the first worker is started, so that no signal finds us unprepared.
        let signals = Signals::install().context("could not install signal handlers")?;
        let launcher = Launcher { environment: worker_environment(&config, state_dir.as_ref()), workers };
        let supervisor = Supervisor::new(launcher, config.probing, config.limits, pool, Arc::clone(&roster));
        let serving = Serving {
            app: Arc::clone(&app),
            phase: phase_seen,
            draining: draining_seen,
            room: Arc::new(Semaphore::new(connections)),
        };
        let threads =
            listener::serve(&listener, serving_threads(), &serving).context("could not start serving")?;
        drop(listener);
        info!(%address, workers, pid = std::process::id(), "listening on http://{address}");
        let shutdown =
            Shutdown { roster, open, phase, draining, orders, app, drain_timeout: config.drain_timeout };
        let code = shutdown.run(signals, supervisor.run(ordered)).await;
        threads.join();
        anyhow::Ok(code)
    })?;
    Ok(code)
}

fn bind(config: &Config) -> anyhow::Result<TcpListener> {
    listener::bind(config.listen)
        .map_err(|err| shared::config::describe_bind_error(config.listen, &err))
        .map_err(anyhow::Error::msg)
}

/// One per CPU that this process may use.
fn serving_threads() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// The configuration as a worker reads it, whatever source the primary had it
/// from: what stands later wins.
fn worker_environment(config: &Config, state_dir: Option<&StateDir>) -> Vec<(String, OsString)> {
    let mut environment = config.dotenv.clone();
    let mut set = |setting: &Setting, value: OsString| environment.push((setting.variable.to_owned(), value));
    if let Some(state_dir) = state_dir {
        set(&settings::STATE_DIR, state_dir.path().into());
    }
    let redis_url = config.redis_url.as_ref().map_or("", RedisUrl::expose);
    set(&settings::REDIS_URL, redis_url.into());
    set(&settings::CRASH_ENABLED, config.crash_enabled.to_string().into());
    // Lines go through the primary's log, which gives them their final form.
    set(&settings::LOG_FORMAT, "text".into());
    let duration = |duration| humantime::format_duration(duration).to_string().into();
    set(&worker::config::DRAIN_TIMEOUT, duration(config.drain_timeout));
    // A worker that stops by itself is better off than one that is killed.
    set(&worker::config::SHUTDOWN_TIMEOUT, duration(config.limits.kill.mul_f64(0.9)));
    environment
}
