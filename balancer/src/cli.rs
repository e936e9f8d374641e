//! The command line, as typed. Flags are made from the definitions of settings
//! and stay text here; [`crate::config`] parses them.

use std::ffi::OsString;

use balancer_ctl::cli::Action;
use balancer_ctl::healthcheck;
use clap::{Args, Parser, Subcommand};
use shared_settings::{Balancer, Flags};

const EXAMPLES: &str = "\
Examples:
  balancer --workers 4              four workers behind 127.0.0.1:3100
  balancer --workers 1..4           from one to four, as the load asks for
  balancer --cluster auto           one worker per usable CPU (the default)
  balancer --cluster off            a single process without a cluster
  balancer --redis-url redis://127.0.0.1:6379
                                    shared state in Redis instead of the embedded store
  balancer --workers 4 -- node server.js
                                    any program that listens on $PORT of $HOST
  balancer --workers 4 --strategy least-connections --access-log -
                                    to the least busy worker; a line for each request
  balancer --workers 4 --max-concurrency 1 --queue 50 -- ./server
                                    one request at a time for each, 50 may wait

Operate it, from another terminal:
  balancer status                   who is online, and how they are
  balancer status --watch           the same and what happens, kept up to date
  balancer logs -f                  what the workers print
  balancer reload                   replace all workers without losing a request
  balancer scale 8                  change the number of workers; +1 and -1 for one more or fewer
  balancer upgrade                  another version or other flags, without closing the port
  balancer stop                     finish what is in flight, then end
  balancer config                   what is set, and where each value comes from
  balancer check                    would it start?
  balancer healthcheck              exit code 0 when the cluster on PORT is healthy

Try it:
  curl http://127.0.0.1:3100/cluster/info
  curl http://127.0.0.1:3100/cluster/workers

A flag beats its environment variable, which beats the line in .env, which beats
cluster.toml: the same names without dashes, and command, the program to run. With a
COMMAND only variables that begin with CLUSTER_, HOST and PORT are read.
Durations are written like 500ms, 30s or 1m. --log-filter sets what is logged,
CLUSTER_CRASH_ENABLED whether POST /cluster/crash may act; docs/configuration.md
lists all variables. --generate man prints the manual page, --generate complete-bash,
complete-zsh and complete-fish print what completes this command line in a shell.
Exit codes: 0 stopped in order, 1 failed, 2 bad usage or configuration.";

/// Runs an HTTP service as a cluster on this machine: worker processes on
/// loopback ports behind a Pingora balancer, which health-checks them, balances
/// the load, restarts what crashes and drains on shutdown.
#[derive(Debug, Parser)]
#[command(
    name = "balancer",
    version,
    after_help = EXAMPLES,
    max_term_width = 100,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) start: Start,
    #[command(subcommand)]
    pub(crate) subcommand: Option<Subcommands>,
}

/// What a cluster is started with.
#[derive(Debug, Args)]
pub(crate) struct Start {
    #[command(flatten)]
    pub(crate) flags: Flags<Balancer>,
    /// The program to run as workers, instead of the bundled one: it is to listen on
    /// port $PORT of address $HOST, and is told $WORKER_ID, $WORKER_COUNT and $WORKER_GENERATION
    #[arg(last = true, value_name = "COMMAND", help_heading = "Arguments")]
    pub(crate) command: Vec<OsString>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Subcommands {
    #[command(flatten)]
    Control(Action),
    Healthcheck(healthcheck::Options),
    /// Show every setting as it would hold, and where its value comes from; * marks what is set
    Config {
        #[command(flatten)]
        start: Start,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Say whether a cluster would start, without starting it: exit code 0 when it would, 1 when
    /// something is in its way, 2 when the configuration is wrong
    Check {
        #[command(flatten)]
        start: Start,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
