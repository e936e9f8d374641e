//! What workers are started with: the program and its environment.

use std::ffi::OsString;
use std::sync::Arc;

use shared_process::inherited::Inherited;
use shared_protocol::STATE_FILES_VAR;
use shared_settings::Definition;
use shared_settings::definitions::{
    CRASH_ENABLED, DRAIN_TIMEOUT, HOST, LOG_FORMAT, PORT, REDIS_URL, STATE_DIR, WORKER_SHUTDOWN_TIMEOUT,
    private_variables,
};
use worker::config::State;

use crate::activation;
use crate::config::Config;
use crate::state_dir::StateDir;
use balancer_supervisor::notify;
use balancer_supervisor::output::WorkerOutput;
use balancer_supervisor::process::{Children, Launcher, Program};

pub(crate) fn launcher(
    config: &Config,
    state_dir: Option<&StateDir>,
    inherited: Inherited,
    output: Arc<WorkerOutput>,
) -> Launcher {
    let (defaults, environment) = match config.program {
        Program::Bundled => (config.from_files.clone(), worker_environment(config, state_dir)),
        // Its own reader of `.env` finds what is there, as it is then.
        Program::Command(_) => (Vec::new(), Vec::new()),
    };
    Launcher {
        defaults,
        environment,
        inherited,
        unset: notify::VARIABLES
            .into_iter()
            .chain(activation::VARIABLES)
            .chain(private_variables())
            .collect(),
        children: Children::default(),
        direct: None,
        output,
    }
}

/// The configuration in the form in which a worker reads it, whatever source the
/// primary had it from.
fn worker_environment(config: &Config, state_dir: Option<&StateDir>) -> Vec<(String, OsString)> {
    let files = state_dir.map(|state_dir| state_dir.identity().to_string());
    let mut environment: Vec<_> =
        files.into_iter().map(|files| (STATE_FILES_VAR.to_owned(), files.into())).collect();
    // Each start says which address it is; a stronger name for it would win over that.
    for own in [&HOST.definition, &PORT.definition] {
        let others = own.variables().filter(|&name| name != own.variable);
        environment.extend(others.map(|name| (name.to_owned(), OsString::new())));
    }
    // By all names, as the worker may have inherited a stronger one.
    let mut set = |definition: &Definition, value: OsString| {
        environment.extend(definition.variables().map(|variable| (variable.to_owned(), value.clone())));
    };
    if let Some(state_dir) = state_dir {
        set(&STATE_DIR, state_dir.path().into());
    }
    let redis_url = match &config.worker.state {
        State::Redis(url) => url.expose(),
        State::Directory(_) | State::Temporary => "",
    };
    set(&REDIS_URL, redis_url.into());
    set(&CRASH_ENABLED, config.worker.crash_enabled.to_string().into());
    // Lines go through the primary's log, which gives them their final form.
    set(&LOG_FORMAT, "text".into());
    let duration = |duration| humantime::format_duration(duration).to_string().into();
    set(&DRAIN_TIMEOUT, duration(config.limits.drain));
    // It is better for a worker to stop by itself than to be killed.
    let own = config.limits.kill.mul_f64(0.9);
    // What clients wait for is known to it alone where it accepts their connections.
    let of_clients = config.limits.drain.max(config.stop_timeout);
    set(&WORKER_SHUTDOWN_TIMEOUT, duration(if config.is_direct() { of_clients + own } else { own }));
    environment
}
