//! What workers are started with: the program, and the environment it finds.

use std::ffi::OsString;

use shared_settings::{Setting, settings};
use shared_store::RedisUrl;

use crate::config::{Config, PRIVATE};
use crate::state_dir::StateDir;
use balancer_supervisor::notify;
use balancer_supervisor::process::{Children, Launcher, Program};

pub(crate) fn launcher(config: &Config, state_dir: Option<&StateDir>) -> Launcher {
    let environment = match config.program {
        Program::Bundled => worker_environment(config, state_dir),
        Program::Command(_) => config.dotenv.clone(),
    };
    Launcher {
        program: config.program.clone(),
        environment,
        unset: notify::VARIABLES.into_iter().chain(PRIVATE).collect(),
        children: Children::default(),
    }
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
    set(&worker::config::DRAIN_TIMEOUT, duration(config.limits.drain));
    // A worker that stops by itself is better off than one that is killed.
    set(&worker::config::SHUTDOWN_TIMEOUT, duration(config.limits.kill.mul_f64(0.9)));
    environment
}
