//! Builds the parts of the cluster, connects them and runs them.
//!
//! The supervisor runs on the main thread, which lives as long as the program:
//! the kernel ends workers when the thread that started them has ended.

use std::num::NonZero;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use shared_process::inherited::Inherited;
use shared_process::{descriptors, job_control};
use shared_protocol::Handover;
use shared_telemetry::{Lost, TelemetryGuard, terminal};
use tokio::sync::mpsc::Receiver;
use tokio::sync::{Semaphore, mpsc, watch};
use tracing::{debug, info, warn};
use worker::config::State;

use balancer_access_log::AccessLog;
use balancer_acme::Manager;
use balancer_pool::Pool;
use balancer_proxy::listener::{self, Phase, Serving, Slots};
use balancer_proxy::{AffinitySource, OpenRequests, Proxy};
use balancer_state::ClusterState;
use balancer_state::counters::Counters;
use balancer_supervisor::direct::Direct;
use balancer_supervisor::executable::Executable;
use balancer_supervisor::output::{OutputMode, OutputSettings, WorkerOutput};
use balancer_supervisor::process::Program;
use balancer_supervisor::release::OpenedRelease;
use balancer_supervisor::{Command, Handle, Machine, PortPolicy, Settings, Supervisor, reaper};
use balancer_tls::Tls;

use crate::acme;
use crate::activation::Activation;
use crate::config::Config;
use crate::error_pages;
use crate::fd_budget::FdBudget;
use crate::installation;
use crate::operators::{Operators, Turn};
use crate::shutdown::Shutdown;
use crate::signals::Signals;
use crate::sockets::{ListenerParts, Sockets};
use crate::state_dir::StateDir;
use crate::tls;
use crate::upgrade::{self, Estate, Invocation, Legacy, Parts, Predecessor, Successor};
use crate::worker_env;

/// Upgrades that may be asked for while one is carried out; all but that one are turned down.
const QUEUED_UPGRADES: usize = 16;

/// Runs a cluster that starts with `workers` workers, until a signal ends it. A `successor`
/// takes over from another cluster once all of its workers are ready.
///
/// # Errors
/// When something that the cluster needs cannot be had. No worker is left then.
pub(crate) fn run(
    config: &Config,
    workers: u32,
    activation: Activation,
    successor: Option<Successor>,
) -> anyhow::Result<ExitCode> {
    let invocation = Invocation::own();
    // Before any thread is started: all of them have to.
    job_control::block().context("could not block signals")?;
    let state = ClusterState { pool: Arc::new(Pool::new(config.balancing)), ..ClusterState::default() };
    let mut log = shared_telemetry::init_counted(&config.telemetry, lost_lines(&state.counters))?;
    config.warnings.iter().for_each(|warning| warn!("{warning}"));
    // Before any of it is changed.
    let inherited = Inherited::now();
    let fd_budget = FdBudget::new(descriptors::raise_limit(), config.mode.most())?
        .with_listeners(config.listening.further_sockets(serving_threads()))
        .with_max_connections(config.max_connections)?;
    if let Some(why) = &activation.ignored {
        debug!("sockets that were passed are ignored: {why}");
    }
    let protocols = config.proxy_limits.http2.alpn_protocols();
    let tls = config.tls.as_ref().map(|sources| tls::open(sources, protocols, &state)).transpose()?;
    let parts = ListenerParts { challenges: Arc::default(), tls: tls.clone() };
    let handover = successor.as_ref().map(|successor| &successor.handover);
    let configured_workers = config.mode.range().is_none().then_some(workers as usize);
    let workers = first_workers(config, workers, fd_budget.max_workers, handover);
    if let (Some(tls), Some(tickets)) = (&tls, handover.and_then(|handover| handover.tickets.as_ref())) {
        tls.resume(tickets);
    }
    if let Some(seconds) = handover.and_then(|handover| handover.maintenance_retry_after) {
        state.registry.maintenance.begin(seconds);
    }
    let sockets = Sockets::open(config, activation, handover, &parts)?;
    let state = ClusterState { slots: sockets.clients.slots.clone(), ..state };
    let acme = acme::open(config, &parts, &state)?;
    let state_dir = open_state_dir(config, handover)?;
    let output = worker_output(config, &mut log, &state)?;
    let (access_log, _last_lines) = match &config.access_log {
        Some(settings) => AccessLog::open(settings, Arc::clone(&state.counters.access_log_dropped))?,
        None => Default::default(),
    };
    let open = OpenRequests::default();
    let left = handover.and_then(|handover| handover.sticky_secret.as_ref());
    let (affinity, sticky_secret) = config.affinity.source(config.balancing.strategy, left)?;
    let proxy = proxy(config, &state, open.clone(), access_log.clone(), affinity)?;
    let legacy = Legacy { configured_workers, tls: tls.clone(), sticky_secret };
    let (reopened, reloaded) = (access_log.clone(), tls.clone());
    let (supervisor, commands) = Handle::new(move || {
        reopened.reopen();
        reloaded.as_deref().map(tls::reload).unwrap_or_default()
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("could not make the supervisor's event loop")?;
    let cluster = Cluster {
        config,
        workers,
        invocation,
        successor,
        legacy,
        inherited,
        fd_budget,
        sockets,
        state_dir,
        state,
        open,
        proxy,
        tls,
        acme,
        access_log,
        output: Arc::new(output),
        supervisor,
    };
    runtime.block_on(cluster.run(commands))
}

/// A successor begins with its predecessor's number of workers, which an operator or the load
/// has chosen, unless its configuration asks for another one than that of the predecessor did.
/// More than `most` find no room.
fn first_workers(config: &Config, workers: u32, most: usize, handover: Option<&Handover>) -> u32 {
    let Some(handover) = handover else { return workers };
    let is_kept = |left: usize| match config.mode.range() {
        Some(range) => range.contains(left),
        None => handover.configured_workers == Some(workers as usize) && left <= most,
    };
    let left = handover.workers.filter(|&left| is_kept(left));
    left.and_then(|left| u32::try_from(left).ok()).unwrap_or(workers)
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
fn open_state_dir(config: &Config, handover: Option<&Handover>) -> anyhow::Result<Option<StateDir>> {
    let left = handover.and_then(|handover| handover.temporary_state.as_ref());
    Ok(match (&config.program, &config.worker.state) {
        (Program::Bundled, State::Directory(named)) => Some(StateDir::open(Some(named))?),
        (Program::Bundled, State::Temporary) => Some(match left {
            Some(left) => StateDir::succeed(Path::new(left))?,
            None => StateDir::open(None)?,
        }),
        (Program::Bundled, State::Redis(_)) | (Program::Command(_), _) => None,
    })
}

fn proxy(
    config: &Config,
    state: &ClusterState,
    open: OpenRequests,
    access_log: AccessLog,
    affinity: AffinitySource,
) -> anyhow::Result<Arc<Proxy>> {
    let mut proxy = Proxy::new(
        Arc::clone(&state.pool),
        Arc::clone(&state.registry),
        Arc::clone(&state.counters),
        open,
        config.proxy_limits.clone(),
    );
    proxy.own_routes = matches!(config.program, Program::Bundled);
    proxy.probe_target = config.public_probe();
    proxy.health_target = config.health_target();
    proxy.access_log = access_log;
    proxy.error_pages = error_pages::open(config)?;
    proxy.affinity = affinity;
    Ok(Arc::new(proxy))
}

/// Everything that has been built, before any of it runs.
struct Cluster<'a> {
    config: &'a Config,
    workers: u32,
    invocation: Invocation,
    successor: Option<Successor>,
    legacy: Legacy,
    inherited: Inherited,
    fd_budget: FdBudget,
    sockets: Sockets,
    /// A temporary directory is removed when the cluster ends.
    state_dir: Option<StateDir>,
    state: ClusterState,
    open: OpenRequests,
    proxy: Arc<Proxy>,
    /// If clients speak TLS.
    tls: Option<Arc<Tls>>,
    /// If certificates are had by ACME.
    acme: Option<Manager>,
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
        let (upgrades, requests) = mpsc::channel(QUEUED_UPGRADES);
        let signals = Signals::install(handle.clone(), upgrades.clone(), self.access_log)
            .context("could not install signal handlers")?;
        let mut launcher = worker_env::launcher(config, self.state_dir.as_ref(), self.inherited, self.output);
        let slots = state.slots.clone();
        launcher.direct =
            slots.clone().map(|sockets| Direct { sockets, registry: Arc::clone(&state.registry) });
        let (children, programs) = (launcher.children.clone(), matches!(config.program, Program::Command(_)));
        tokio::spawn(reaper::run(children.clone(), programs));
        let executable = Executable::own().context("could not open the own executable")?;
        let settings = supervisor_settings(config, workers, self.fd_budget.max_workers);
        let installation = installation::installation(config, &self.proxy.error_pages);
        let release =
            OpenedRelease::open(&installation, executable).context("could not open what workers run")?;
        installation::report_unused(&release);
        let machine = Machine::new(launcher, installation, release, config.probing.clone());
        let supervisor = Supervisor::new(settings, config.probing.clone(), machine, state.clone())
            .with_autoscaling(config.scale_down_after);

        let control = sockets.control.path.display().to_string();
        let (closing, described) = (sockets.closing(), sockets.described());
        let (address, listeners) = (sockets.clients.address(), sockets.clients.urls());
        let left = self.successor.as_ref().map(|successor| &successor.handover);
        let mut estate = Estate::new(&sockets, self.state_dir.as_ref(), left, self.legacy)?;
        let belongings = estate.belongings.clone();
        let first = if self.successor.is_some() { Phase::Pending } else { Phase::Open };
        let (phase, phase_seen) = watch::channel(first);
        let (leaving, left) = watch::channel(false);
        let operators = Operators {
            config,
            state: &state,
            supervisor: &handle,
            upgrades,
            address: address.clone(),
            listeners,
            turn: Turn { phase: phase_seen.clone(), left },
        };
        operators.serve(sockets.control, sockets.control_places, sockets.admin, sockets.admin_address)?;
        if let Some(tls) = self.tls {
            tokio::spawn(tls::watch(tls, state.clone()));
        }
        if let Some(acme) = self.acme {
            // Answers to challenges are those of who accepts connections.
            tokio::spawn(operators.turn.clone().run(acme.run()));
        }
        let permits = Arc::new(Semaphore::new(self.fd_budget.connections));
        let serving = Serving {
            app: self.proxy,
            phase: phase_seen,
            permits: Arc::clone(&permits),
            slots: slots.map(|sockets| Slots { sockets, pool: Arc::clone(&state.pool) }),
        };
        // Those of Unix sockets are removed when nothing is served any more.
        let files = sockets.clients.files;
        let (threads, clients) = listener::serve(sockets.clients.listeners, serving_threads(), &serving)
            .context("could not start serving")?;
        estate.clients = clients;
        let pid = std::process::id();
        let admin = sockets.admin_address.map(|address| format!("http://{address}"));
        let say = move || info!(address, workers, pid, admin, control, "listening on {described}");
        match self.successor {
            None => say(),
            Some(successor) => {
                let start = upgrade::Start {
                    registry: Arc::clone(&state.registry),
                    events: Arc::clone(&state.events),
                    workers: workers as usize,
                    startup: config.limits.startup,
                };
                let phase = phase.clone();
                tokio::spawn(successor.run(start, move || {
                    phase.send_replace(Phase::Open);
                    say();
                    belongings.take()
                }));
            }
        }

        let ClusterState { registry, events, .. } = state;
        let (stop_timeout, stream_drain) = (config.stop_timeout, config.limits.stream_drain);
        let predecessor = Predecessor::new(
            requests,
            Parts {
                invocation: self.invocation,
                inherited: self.inherited,
                is_direct: config.is_direct(),
                estate,
                children: children.clone(),
                supervisor: handle.clone(),
                registry: Arc::clone(&registry),
                events: Arc::clone(&events),
            },
        );
        let shutdown = Shutdown {
            permits,
            connections: self.fd_budget.connections,
            registry,
            events,
            is_direct: config.is_direct(),
            predecessor,
            leaving,
            open: self.open,
            phase,
            closing,
            supervisor: handle,
            delay: config.shutdown_delay,
            stop_timeout,
            stream_drain,
        };
        let code = shutdown.run(signals, supervisor.run(commands)).await;
        if programs {
            reaper::take(&children, std::process::id() != 1);
        }
        threads.join();
        drop(files);
        code
    }
}

fn supervisor_settings(config: &Config, workers: u32, max_workers: usize) -> Settings {
    Settings {
        workers: workers as usize,
        max_workers,
        mode: config.reload_mode,
        range: config.mode.range(),
        limits: config.limits,
        recycle: config.recycling,
        starts: config.starts,
        // Where workers accept connections themselves, they inherit what listens on their ports.
        ports: if config.is_direct() { PortPolicy::Own } else { config.program.port_policy() },
        give_up_after: config.give_up_after,
    }
}

/// One per CPU that this process may use.
pub(crate) fn serving_threads() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}
