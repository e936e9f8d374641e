//! The command line, as typed: every value is still text here, so that
//! [`crate::config`] can name the flag, variable or `.env` line that was wrong.

mod traffic;

use std::ffi::OsString;

use balancer_ctl::cli::Action;
use balancer_ctl::healthcheck;
use clap::{Args, Parser, Subcommand};

pub(crate) use traffic::{AccessLogOptions, BalancingOptions, ClientOptions};

const EXAMPLES: &str = "\
Examples:
  balancer --workers 4              four workers behind 127.0.0.1:3100
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
  balancer reload                   replace all workers without losing a request
  balancer scale 8                  change the number of workers
  balancer stop                     finish what is in flight, then end
  balancer healthcheck              exit code 0 when the cluster on HOST and PORT is healthy

Try it:
  curl http://127.0.0.1:3100/cluster/info
  curl http://127.0.0.1:3100/cluster/workers

A flag beats its environment variable, which beats the line in .env.
Durations are written like 500ms, 30s or 1m. RUST_LOG sets what is logged,
CLUSTER_CRASH_ENABLED whether POST /cluster/crash may act.
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
    pub(crate) options: Options,
    /// The program to run as workers, instead of the bundled one: it is to listen on
    /// port $PORT of address $HOST, and is told $WORKER_ID, $WORKER_COUNT and $WORKER_GENERATION
    #[arg(last = true, value_name = "COMMAND", help_heading = "Arguments")]
    pub(crate) command: Vec<OsString>,
    #[command(subcommand)]
    pub(crate) subcommand: Option<Subcommands>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Subcommands {
    #[command(flatten)]
    Control(Action),
    Healthcheck(healthcheck::Options),
}

#[derive(Debug, Default, Args)]
pub(crate) struct Options {
    /// Number of workers; implies --cluster manual [env: CLUSTER_WORKERS]
    #[arg(short, long, value_name = "N", allow_hyphen_values = true, help_heading = "Cluster")]
    pub(crate) workers: Option<String>,
    /// One worker per CPU (auto), a given number (manual, 4 unless --workers says otherwise),
    /// or a single process (off) [env: CLUSTER_MODE; CLUSTER_ENABLED=false means off] [default: auto]
    #[arg(long, value_name = "auto|manual|off", help_heading = "Cluster")]
    pub(crate) cluster: Option<String>,
    /// Address where clients connect [env: HOST] [default: 127.0.0.1]
    #[arg(long, value_name = "ADDR", help_heading = "Cluster")]
    pub(crate) host: Option<String>,
    /// Port where clients connect; 0 takes a free one [env: PORT] [default: 3100]
    #[arg(long, value_name = "PORT", allow_hyphen_values = true, help_heading = "Cluster")]
    pub(crate) port: Option<String>,
    /// Keep shared state in Redis: redis://, rediss:// or redis+unix://, redis+sentinel://host:port,…/master
    /// or redis+cluster://host:port,… [env: REDIS_URL] [default: none, an embedded store]
    #[arg(long, value_name = "URL", help_heading = "Shared state")]
    pub(crate) redis_url: Option<String>,
    /// Where the embedded store lives; a named directory survives restarts [env: CLUSTER_STATE_DIR]
    /// [default: a private temporary directory]
    #[arg(long, value_name = "DIR", help_heading = "Shared state")]
    pub(crate) state_dir: Option<String>,
    /// On shutdown, how long requests in flight may take [env: CLUSTER_DRAIN_TIMEOUT] [default: 30s]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true, help_heading = "Workers")]
    pub(crate) drain_timeout: Option<String>,
    /// How long a worker may take until it is ready [env: CLUSTER_STARTUP_TIMEOUT] [default: 30s]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true, help_heading = "Workers")]
    pub(crate) startup_timeout: Option<String>,
    /// From SIGTERM to SIGKILL for a worker [env: CLUSTER_KILL_TIMEOUT] [default: 5s]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true, help_heading = "Workers")]
    pub(crate) kill_timeout: Option<String>,
    /// Path of the health probe, or tcp: a connection will do [env: CLUSTER_HEALTH_PATH]
    /// [default: /health]
    #[arg(long, value_name = "PATH", help_heading = "Health of workers")]
    pub(crate) health_path: Option<String>,
    /// Time between probes of a worker [env: CLUSTER_HEALTH_INTERVAL] [default: 2s]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true, help_heading = "Health of workers")]
    pub(crate) health_interval: Option<String>,
    /// How long a worker may take to answer a probe [env: CLUSTER_HEALTH_TIMEOUT] [default: 1s]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true, help_heading = "Health of workers")]
    pub(crate) health_timeout: Option<String>,
    /// Missed probes in a row after which a worker is replaced [env: CLUSTER_HEALTH_FALL] [default: 3]
    #[arg(long, value_name = "N", allow_hyphen_values = true, help_heading = "Health of workers")]
    pub(crate) health_fall: Option<String>,
    /// Answered probes in a row after which a starting worker is ready [env: CLUSTER_HEALTH_RISE]
    /// [default: 1]
    #[arg(long, value_name = "N", allow_hyphen_values = true, help_heading = "Health of workers")]
    pub(crate) health_rise: Option<String>,
    /// Where to serve dashboard, health, worker list and metrics, read-only: an address with a port, a port on
    /// 127.0.0.1, or off [env: CLUSTER_ADMIN] [default: 127.0.0.1, port 80 above --port]
    #[arg(long, value_name = "ADDR|off", help_heading = "Operators")]
    pub(crate) admin: Option<String>,
    /// Unix socket through which status, reload, scale and stop reach this cluster
    /// [env: CLUSTER_CONTROL] [default: in $XDG_RUNTIME_DIR or the temporary directory]
    #[arg(long, value_name = "PATH", help_heading = "Operators")]
    pub(crate) control: Option<String>,
    /// Workers of a reload that start at the same time [env: CLUSTER_RELOAD_PARALLEL] [default: 1]
    #[arg(long, value_name = "N", allow_hyphen_values = true, help_heading = "Workers")]
    pub(crate) reload_parallel: Option<String>,
    /// Replace a worker that keeps more resident memory than this for some seconds
    /// [env: CLUSTER_MAX_MEMORY] [default: no limit]
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true, help_heading = "Workers")]
    pub(crate) max_memory: Option<String>,
    /// Replace a worker after so many requests, or up to a fifth fewer [env: CLUSTER_MAX_REQUESTS]
    /// [default: no limit]
    #[arg(long, value_name = "N", allow_hyphen_values = true, help_heading = "Workers")]
    pub(crate) max_requests: Option<String>,
    /// Replace a worker at this age, or up to a fifth earlier [env: CLUSTER_MAX_LIFETIME]
    /// [default: no limit]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true, help_heading = "Workers")]
    pub(crate) max_lifetime: Option<String>,
    /// Form of the log on standard error [env: LOG_FORMAT] [default: text on a terminal, else json]
    #[arg(long, value_name = "text|json", help_heading = "Operators")]
    pub(crate) log_format: Option<String>,
    #[command(flatten)]
    pub(crate) balancing: BalancingOptions,
    #[command(flatten)]
    pub(crate) clients: ClientOptions,
    #[command(flatten)]
    pub(crate) access_log: AccessLogOptions,
}
