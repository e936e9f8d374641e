//! Builds the parts of the cluster, connects them and runs them.
//!
//! The supervisor runs on the main thread, which lives as long as the program:
//! the kernel ends workers when the thread that started them has ended.

use std::net::{SocketAddr, TcpListener};
use std::num::NonZero;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use shared_process::inherited::Inherited;
use shared_process::{descriptors, job_control};
use shared_settings::definitions::ADMIN;
use shared_settings::describe_bind_error;
use shared_telemetry::{Lost, TelemetryGuard, terminal};
use tokio::sync::mpsc::Receiver;
use tokio::sync::{Semaphore, watch};
use tracing::{info, warn};
use worker::config::State;

use balancer_access_log::AccessLog;
use balancer_admin::Admin;
use balancer_admin::control::{Control, ControlSocket, Places};
use balancer_admin::feed::{About, Feed};
use balancer_pool::Pool;
use balancer_proxy::listener::{self, Phase, Serving};
use balancer_proxy::{OpenRequests, Proxy};
use balancer_state::ClusterState;
use balancer_state::counters::Counters;
use balancer_supervisor::executable::Executable;
use balancer_supervisor::output::{OutputMode, OutputSettings, WorkerOutput};
use balancer_supervisor::process::Program;
use balancer_supervisor::release::OpenedRelease;
use balancer_supervisor::{Command, Handle, Machine, Settings, Supervisor, reaper};

use crate::config::Config;
use crate::control;
use crate::fd_budget::FdBudget;
use crate::installation;
use crate::shutdown::Shutdown;
use crate::signals::Signals;
use crate::state_dir::StateDir;
use crate::worker_env;

/// Runs a cluster that starts with `workers` workers, until a signal ends it.
///
/// # Errors
/// When something that the cluster needs cannot be had. No worker is left then.
pub(crate) fn run(config: &Config, workers: u32) -> anyhow::Result<ExitCode> {
    // Before any thread is started: all of them have to.
    job_control::block().context("could not block signals")?;
    let state = ClusterState { pool: Arc::new(Pool::new(config.balancing)), ..ClusterState::default() };
    let mut log = shared_telemetry::init_counted(&config.telemetry, lost_lines(&state.counters))?;
    config.warnings.iter().for_each(|warning| warn!("{warning}"));
    // Before any of it is changed.
    let inherited = Inherited::now();
    let fd_budget = FdBudget::new(descriptors::raise_limit(), config.mode.most())?
        .with_max_connections(config.max_connections)?;
    let sockets = Sockets::bind(config)?;
    let state_dir = open_state_dir(config)?;
    let output = worker_output(config, &mut log, &state)?;
    let (access_log, _last_lines) = match &config.access_log {
        Some(settings) => AccessLog::open(settings, Arc::clone(&state.counters.access_log_dropped))?,
        None => Default::default(),
    };
    let open = OpenRequests::default();
    let proxy = proxy(config, &state, open.clone(), access_log.clone())?;
    let reopened = access_log.clone();
    let (supervisor, commands) = Handle::new(move || reopened.reopen());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("could not make the supervisor's event loop")?;
    let cluster = Cluster {
        config,
        workers,
        inherited,
        fd_budget,
        sockets,
        state_dir,
        state,
        open,
        proxy,
        access_log,
        output: Arc::new(output),
        supervisor,
    };
    runtime.block_on(cluster.run(commands))
}

/// The listening sockets, all bound before anything is started.
struct Sockets {
    clients: TcpListener,
    address: SocketAddr,
    admin: Option<TcpListener>,
    admin_address: Option<SocketAddr>,
    control: ControlSocket,
    control_places: Places,
}

impl Sockets {
    fn bind(config: &Config) -> anyhow::Result<Self> {
        let clients = bind(config.listen())?;
        let address = clients.local_addr().context("could not read the bound address")?;
        let admin = config.admin.map(bind).transpose().with_context(|| {
            format!("no admin listener (set {} to another address, or to off)", ADMIN.names())
        })?;
        let admin_address = admin.as_ref().and_then(|admin| admin.local_addr().ok());
        let control_places = control::places(config.control.as_deref(), address.port());
        let control = ControlSocket::bind(&control_places)?;
        Ok(Self { clients, address, admin, admin_address, control, control_places })
    }
}

fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    listener::bind(address).map_err(|err| anyhow::Error::msg(describe_bind_error(address, &err)))
}

/// Where lines are counted that are read too slowly.
fn lost_lines(counters: &Counters) -> Lost {
    let (own, relayed) = (&counters.log_dropped, &counters.output_dropped);
    Lost { own: Arc::clone(own), relayed: Arc::clone(relayed) }
}

/// Where lines of workers go.
fn worker_output(
    config: &Config,
    log: &mut TelemetryGuard,
    state: &ClusterState,
) -> anyhow::Result<WorkerOutput> {
    let settings = OutputSettings {
        mode: config.worker_output,
        format: config.telemetry.format,
        colours: terminal::stderr_has_colour(),
        bundled: matches!(config.program, Program::Bundled),
    };
    let stdout = (settings.mode == OutputMode::Raw).then(|| log.stdout()).transpose()?;
    Ok(WorkerOutput::new(settings, log.stderr(), stdout, Arc::clone(&state.output)))
}

/// The embedded store's directory, if the workers need one.
fn open_state_dir(config: &Config) -> anyhow::Result<Option<StateDir>> {
    Ok(match (&config.program, &config.worker.state) {
        (Program::Bundled, State::Directory(named)) => Some(StateDir::open(Some(named))?),
        (Program::Bundled, State::Temporary) => Some(StateDir::open(None)?),
        (Program::Bundled, State::Redis(_)) | (Program::Command(_), _) => None,
    })
}

fn proxy(
    config: &Config,
    state: &ClusterState,
    open: OpenRequests,
    access_log: AccessLog,
) -> anyhow::Result<Arc<Proxy>> {
    let mut proxy = Proxy::new(
        Arc::clone(&state.pool),
        Arc::clone(&state.registry),
        Arc::clone(&state.counters),
        open,
        config.proxy_limits.clone(),
    );
    proxy.own_routes = matches!(config.program, Program::Bundled);
    proxy.access_log = access_log;
    proxy.affinity = config.affinity.source(config.balancing.strategy)?;
    Ok(Arc::new(proxy))
}

/// Everything that has been built, before any of it runs.
struct Cluster<'a> {
    config: &'a Config,
    workers: u32,
    inherited: Inherited,
    fd_budget: FdBudget,
    sockets: Sockets,
    /// A temporary directory is removed when the cluster ends.
    state_dir: Option<StateDir>,
    state: ClusterState,
    open: OpenRequests,
    proxy: Arc<Proxy>,
    access_log: AccessLog,
    output: Arc<WorkerOutput>,
    supervisor: Handle,
}

impl Cluster<'_> {
    /// Starts every part, serves until a signal comes, and shuts down.
    async fn run(self, commands: Receiver<Command>) -> anyhow::Result<ExitCode> {
        let Self { config, workers, sockets, state, supervisor: handle, .. } = self;
        // Handlers are installed before the first worker starts, so that no signal
        // ends the primary while workers run.
        let signals =
            Signals::install(handle.clone(), self.access_log).context("could not install signal handlers")?;
        let launcher = worker_env::launcher(config, self.state_dir.as_ref(), self.inherited, self.output);
        let (children, programs) = (launcher.children.clone(), matches!(config.program, Program::Command(_)));
        tokio::spawn(reaper::run(children.clone(), programs));
        let executable = Executable::own().context("could not open the own executable")?;
        let settings = supervisor_settings(config, workers, self.fd_budget.max_workers);
        let installation = installation::installation(config);
        let release =
            OpenedRelease::open(&installation, executable).context("could not open what workers run")?;
        installation::report_unused(&release);
        let machine = Machine::new(launcher, installation, release, config.probing.clone());
        let supervisor = Supervisor::new(settings, config.probing.clone(), machine, state.clone())
            .with_autoscaling(config.scale_down_after);

        let control = sockets.control.path.display().to_string();
        let operators = Operators { config, state: &state, supervisor: &handle, address: sockets.address };
        operators.serve(sockets.control, sockets.control_places, sockets.admin, sockets.admin_address)?;
        let (phase, phase_seen) = watch::channel(Phase::Open);
        let permits = Arc::new(Semaphore::new(self.fd_budget.connections));
        let serving = Serving { app: self.proxy, phase: phase_seen, permits };
        let threads = listener::serve(sockets.clients, serving_threads(), &serving)
            .context("could not start serving")?;
        let (address, pid) = (sockets.address, std::process::id());
        let admin = sockets.admin_address.map(|address| format!("http://{address}"));
        info!(%address, workers, pid, admin, control, "listening on http://{address}");

        let ClusterState { registry, events, .. } = state;
        let (stop_timeout, stream_drain) = (config.stop_timeout, config.limits.stream_drain);
        let shutdown = Shutdown {
            registry,
            events,
            open: self.open,
            phase,
            supervisor: handle,
            stop_timeout,
            stream_drain,
        };
        let code = shutdown.run(signals, supervisor.run(commands)).await;
        if programs {
            reaper::take(&children, std::process::id() != 1);
        }
        threads.join();
        code
    }
}

fn supervisor_settings(config: &Config, workers: u32, max_workers: usize) -> Settings {
    Settings {
        workers: workers as usize,
        max_workers,
        range: config.mode.range(),
        limits: config.limits,
        recycle: config.recycling,
        starts: config.starts,
        ports: config.program.port_policy(),
        give_up_after: config.give_up_after,
    }
}

/// What operators use: the control socket and the admin listener.
struct Operators<'a> {
    config: &'a Config,
    state: &'a ClusterState,
    supervisor: &'a Handle,
    address: SocketAddr,
}

impl Operators<'_> {
    fn serve(
        &self,
        socket: ControlSocket,
        places: Places,
        admin: Option<TcpListener>,
        admin_address: Option<SocketAddr>,
    ) -> anyhow::Result<()> {
        let started = Instant::now();
        let bundled = matches!(self.config.program, Program::Bundled);
        let feed = Feed::new(About { address: self.address.to_string(), bundled, started });
        tokio::spawn(feed.clone().run(self.state.clone()));
        let control = Control {
            state: self.state.clone(),
            samples: Arc::clone(&feed.samples),
            supervisor: self.supervisor.clone(),
            address: self.address.to_string(),
            admin: admin_address.map(|address| address.to_string()),
            started,
        };
        if let Some(exposure) = socket.exposure() {
            warn!(control = %socket.path.display(), "the control socket is not safe: {exposure}");
        }
        // The socket's file is removed with the task, when the event loop ends.
        tokio::spawn(async move {
            if let Err(err) = control.serve(socket, &places).await {
                warn!(%err, "the control socket does not work");
            }
        });
        if let Some(admin) = admin {
            let listener =
                tokio::net::TcpListener::from_std(admin).context("could not serve the admin listener")?;
            let names = self.config.admin_hosts.clone().into();
            tokio::spawn(balancer_admin::serve(listener, Admin { state: self.state.clone(), feed, names }));
        }
        Ok(())
    }
}

/// One per CPU that this process may use.
fn serving_threads() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}
