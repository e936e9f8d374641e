//! The bundled worker: an actix-web server that answers the cluster's HTTP API.
//!
//! It runs in one of two roles. Alone ([`run`]) it is its own
//! primary, with id 0. Below a primary ([`run_supervised`]) it takes a free
//! port, reports it over the socket that is its standard input, and ends when
//! the other end of that socket closes.
//!
//! Start-up reads top to bottom in [`startup`]; each resource of the API has its
//! file in `routes`; what the routes share is one [`context::Context`].

use std::io::Write;
use std::process::ExitCode;

use shared_settings::{Flags, Settings};

pub mod config;

mod body;
mod connection_limits;
mod context;
mod cpu;
mod crash;
mod direct;
mod error;
mod health;
mod identity;
mod memory;
mod middleware;
mod openapi;
mod primary;
mod routes;
mod signals;
mod startup;

pub use config::{Cli, Config};
pub use identity::Identity;

/// Exit code for a usage or configuration error.
pub const EXIT_USAGE: u8 = 2;
/// Exit code for a failure while starting or running.
pub const EXIT_FAILED: u8 = 1;

/// Runs a worker without a cluster, as `flags`, the environment and `.env` configure it.
pub fn run_with_flags(flags: Flags<shared_settings::Worker>) -> ExitCode {
    match Settings::load(flags).and_then(|settings| Config::new(&settings)) {
        Ok(config) => run(&config),
        Err(err) => report(&err, EXIT_USAGE),
    }
}

/// Runs a worker without a cluster, until a signal stops it.
pub fn run(config: &Config) -> ExitCode {
    let guard = match shared_telemetry::init(&config.telemetry) {
        Ok(guard) => guard,
        Err(err) => return report(&err, EXIT_USAGE),
    };
    let outcome = startup::serve(config, Identity::single_process(config.name.as_deref()), None);
    drop(guard);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => report(&err, EXIT_FAILED),
    }
}

/// Runs a worker below a primary. Everything comes from the environment; the
/// primary learns the port, or why there is none, over standard input.
pub fn run_supervised() -> ExitCode {
    let link = match primary::Link::from_stdin() {
        Ok(link) => link,
        Err(err) => return report(&err, EXIT_USAGE),
    };
    let socket = match direct::inherited() {
        Ok(socket) => socket,
        Err(err) => return link.failed(&format!("could not take the slot's socket: {err}"), EXIT_FAILED),
    };
    // The primary has read `.env` for all its workers; one that starts later must
    // not see another one.
    let prepared = Config::new(&Settings::from_environment())
        .and_then(|config| Ok((Identity::from_environment()?, config.supervised())));
    let (identity, config) = match prepared {
        Ok(prepared) => prepared,
        Err(err) => return link.failed(&err, EXIT_USAGE),
    };
    let guard = match shared_telemetry::init(&config.telemetry) {
        Ok(guard) => guard,
        Err(err) => return link.failed(&err, EXIT_USAGE),
    };
    let outcome = link.watch().map_err(Into::into).and_then(|commands| {
        startup::serve(&config, identity, Some(startup::Primary { link: &link, commands, socket }))
    });
    drop(guard);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => link.failed(&err, EXIT_FAILED),
    }
}

/// One line that says what was wrong.
fn report(err: &dyn std::fmt::Display, code: u8) -> ExitCode {
    // Nobody may be there to read it.
    let _ = writeln!(std::io::stderr(), "worker: {err:#}");
    ExitCode::from(code)
}
