//! Deadlines and thresholds of workers.

use std::time::Duration;

use balancer_supervisor::Limits;
use shared_settings::definitions::{
    DRAIN_SIGNAL, DRAIN_TIMEOUT, HANG_TIMEOUT, HEALTH_FALL, HEALTH_RISE, KILL_TIMEOUT, RELOAD_MODE,
    RESPONSE_TIMEOUT, STARTUP_TIMEOUT, STOP_TIMEOUT, STREAM_DRAIN_TIMEOUT,
};
use shared_settings::{ConfigError, DrainSignal, ReloadMode, Settings};

pub(super) fn limits(settings: &Settings) -> Result<Limits, ConfigError> {
    Ok(Limits {
        drain: settings.get(&DRAIN_TIMEOUT)?,
        stream_drain: settings.find(&STREAM_DRAIN_TIMEOUT)?,
        drain_signal: match settings.get(&DRAIN_SIGNAL)? {
            DrainSignal::Terminate => balancer_supervisor::DrainSignal::Terminate,
            DrainSignal::Other(signal) => balancer_supervisor::DrainSignal::Other(signal),
            DrainSignal::Off => balancer_supervisor::DrainSignal::Off,
        },
        startup: settings.get(&STARTUP_TIMEOUT)?,
        kill: settings.get(&KILL_TIMEOUT)?,
        // What is answered with a timeout is in nobody's hand any more.
        hang: settings.get(&HANG_TIMEOUT)?.min(settings.get(&RESPONSE_TIMEOUT)?),
        fall: settings.get(&HEALTH_FALL)?,
        rise: settings.get(&HEALTH_RISE)?,
    })
}

/// How workers are replaced as planned.
pub(super) fn reload_mode(settings: &Settings) -> Result<shared_protocol::ReloadMode, ConfigError> {
    Ok(match settings.get(&RELOAD_MODE)? {
        ReloadMode::All => shared_protocol::ReloadMode::All,
        ReloadMode::OneByOne => shared_protocol::ReloadMode::OneByOne,
    })
}

/// How long requests in flight may take on shutdown.
pub(super) fn stop_timeout(settings: &Settings) -> Result<Duration, ConfigError> {
    settings.find(&STOP_TIMEOUT)?.map_or_else(|| settings.get(&DRAIN_TIMEOUT), Ok)
}
