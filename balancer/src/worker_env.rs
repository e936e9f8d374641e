//! What workers are started with: the program and its environment.

use std::ffi::OsString;
use std::sync::Arc;

use shared_settings::Definition;
use shared_settings::definitions::{
    CRASH_ENABLED, DRAIN_TIMEOUT, LOG_FORMAT, REDIS_URL, STATE_DIR, WORKER_SHUTDOWN_TIMEOUT,
    private_variables,
};
use worker::config::State;

use crate::config::Config;
use crate::state_dir::StateDir;
use balancer_supervisor::notify;
use balancer_supervisor::output::WorkerOutput;
use balancer_supervisor::process::{Children, Launcher, Program};

pub(crate) fn launcher(config: &Config, state_dir: Option<&StateDir>, output: Arc<WorkerOutput>) -> Launcher {
    let environment = match config.program {
        Program::Bundled => worker_environment(config, state_dir),
        Program::Command(_) => config.dotenv.clone(),
    };
    Launcher {
        program: config.program.clone(),
        environment,
        unset: notify::VARIABLES.into_iter().chain(private_variables()).collect(),
        children: Children::default(),
        output,
    }
}

/// The configuration in the form in which a worker reads it, whatever source the
/// primary had it from. A later entry wins over an earlier one.
fn worker_environment(config: &Config, state_dir: Option<&StateDir>) -> Vec<(String, OsString)> {
    let mut environment = config.dotenv.clone();
    let mut set = |definition: &Definition, value: OsString| {
        environment.push((definition.variable.to_owned(), value));
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
    set(&WORKER_SHUTDOWN_TIMEOUT, duration(config.limits.kill.mul_f64(0.9)));
    environment
}
