//! The balancer: a cluster for one machine.
//!
//! ```text
//! main: what was asked for ─► ctl (status, reload, …), a worker process, or
//!   cli → config ─► cluster, which builds and connects:
//!     supervisor ──writes──► pool, state ◄──reads── proxy ◄── listener
//!     signals, control ──commands──► supervisor ◄──reads── admin, control
//!     signals ──► shutdown: stop accepting, finish, stop workers
//! ```

mod acme;
mod activation;
mod check;
mod cli;
mod cluster;
mod config;
mod control;
mod error_pages;
mod fd_budget;
mod installation;
mod misuse;
mod operators;
mod show;
mod shutdown;
mod signals;
mod sockets;
mod state_dir;
mod tls;
mod upgrade;
mod worker_env;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use shared_settings::Settings;

use activation::{Activation, ActivationError};
use balancer_ctl::healthcheck;
use balancer_supervisor::{process, shim};
use cli::{Cli, Start, Subcommands};
use config::{Config, Mode};
use shared_process::guard;
use shared_protocol::WORKER_ID_VAR;
use upgrade::Successor;

/// Exit code of a failure while starting or running.
const FAILED: u8 = 1;
/// Exit code of bad usage or configuration.
const BAD_USAGE: u8 = 2;

/// A command among the arguments of a successor would be carried out, on whoever serves.
const NO_CLUSTER: &str =
    "these arguments start no cluster: give its options alone, for example balancer upgrade -- --workers 4";

pub(crate) const SINGLE_WITH_SOCKETS: &str = "sockets were passed (LISTEN_FDS), which only a cluster takes: leave out \
     --cluster off (or CLUSTER_ENABLED=false), for example --workers 1";

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    if let Some(code) = run_child_role(&arguments) {
        return code;
    }
    let mut activation = Activation::take();
    let successor = match activation.as_mut().ok().and_then(Activation::take_channel) {
        None => None,
        Some(channel) => match Successor::new(channel) {
            Ok(successor) => Some(successor),
            Err(err) => {
                return report_error(&anyhow::Error::new(err).context("no word of the predecessor"), FAILED);
            }
        },
    };
    // Not for a successor, whose predecessor waits for a cluster.
    if successor.is_none()
        && let Some(code) = shared_manual::answer::<Cli>(&arguments)
    {
        return code;
    }
    let parsed = Cli::try_parse_from(&arguments);
    if let Some(successor) = &successor
        && is_other_than_start(&parsed)
    {
        successor.fail(NO_CLUSTER.to_owned());
        return report_error(&anyhow::Error::msg(NO_CLUSTER), BAD_USAGE);
    }
    let cli = match parsed {
        Ok(cli) => cli,
        Err(err) => {
            if let Some(successor) = successor {
                successor.fail(first_line(&err.to_string()));
            }
            return misuse::explain(&err, &arguments);
        }
    };
    match cli.subcommand {
        Some(Subcommands::Control(action)) => {
            balancer_ctl::run(&action).unwrap_or_else(|err| report_error(&err, FAILED))
        }
        Some(Subcommands::Healthcheck(options)) => healthcheck::run(&options),
        Some(Subcommands::Config { start, json }) => show::run(start, json),
        Some(Subcommands::Check { start }) => check::run(start, activation),
        None => {
            let reporter = successor.as_ref().and_then(Successor::reporter);
            serve(cli.start, activation, successor).unwrap_or_else(|(err, code)| {
                if let Some(predecessor) = reporter {
                    upgrade::fail(&predecessor, format!("{err:#}"));
                }
                report_error(&err, code)
            })
        }
    }
}

/// Does the command line ask for something else than a start, such as `--help`?
fn is_other_than_start(parsed: &Result<Cli, clap::Error>) -> bool {
    match parsed {
        Ok(cli) => cli.subcommand.is_some(),
        Err(err) => !err.use_stderr(),
    }
}

/// Without the word that begins an error of the command line.
fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

/// Serves, as a cluster or as a single process, until a signal ends it.
///
/// # Errors
/// What went wrong, and the exit code for it.
fn serve(
    start: Start,
    activation: Result<Activation, ActivationError>,
    successor: Option<Successor>,
) -> Result<ExitCode, (anyhow::Error, u8)> {
    let settings = Settings::load_with_command(start.flags, start.command);
    let config = settings
        .and_then(|settings| Config::new(&settings, settings.command()))
        .map_err(|err| (err.into(), BAD_USAGE))?;
    let activation = activation.map_err(|err| (err.into(), FAILED))?;
    if config.mode == Mode::Single && !activation.passed.is_empty() {
        return Err((anyhow::Error::msg(SINGLE_WITH_SOCKETS), BAD_USAGE));
    }
    match config.mode {
        Mode::Single => Ok(worker::run(&config.worker)),
        Mode::Cluster { workers, .. } => {
            cluster::run(&config, workers, activation, successor).map_err(|err| (err, FAILED))
        }
    }
}

/// Runs what a primary starts this executable for, if that is what it was started
/// for. The parser of the command line does not know these subcommands, as they
/// are for nobody else, and a worker that does not load that parser starts leaner.
fn run_child_role(arguments: &[OsString]) -> Option<ExitCode> {
    let [_, subcommand, parent, command @ ..] = arguments else { return None };
    let parent = || parent.to_str().and_then(|pid| pid.parse().ok());
    match subcommand.to_str()? {
        process::WORKER_SUBCOMMAND => Some(run_worker(parent())),
        shim::SHIM_SUBCOMMAND => Some(shim::run(parent(), command)),
        shim::EXEC_STUB_SUBCOMMAND => Some(shim::exec_stub(parent(), command)),
        upgrade::SUBCOMMAND => Some(upgrade::run_stub(command)),
        _ => None,
    }
}

fn run_worker(primary: Option<u32>) -> ExitCode {
    let id = std::env::var(WORKER_ID_VAR).unwrap_or_default();
    let name = format!("worker-{id}");
    match guard::die_with(primary).and_then(|()| guard::set_thread_name(&name)) {
        Ok(()) => worker::run_supervised(),
        Err(err) => {
            let err = anyhow::Error::new(err).context("a worker process is started by its primary only");
            report_error(&err, FAILED)
        }
    }
}

/// Writes what went wrong to standard error and returns `code`.
fn report_error(err: &anyhow::Error, code: u8) -> ExitCode {
    // Standard error may be closed.
    let _ = writeln!(std::io::stderr(), "balancer: {err:#}");
    ExitCode::from(code)
}
