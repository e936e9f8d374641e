//! The subcommands that talk to a running cluster, as typed.

use clap::{Args, Subcommand};

/// What can be asked of a running cluster.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Show the workers of a running cluster, what they do and what has happened
    Status {
        #[command(flatten)]
        to: Recipient,
        /// Go on showing it, every second, until Ctrl-C: in place on a terminal; into a pipe one line
        /// a second and one for each event, or with --json one object a second
        #[arg(short, long)]
        watch: bool,
    },
    /// Replace all workers of a running cluster without losing a request: new ones
    /// take over when all of them are ready, and if one fails the old ones stay
    Reload {
        #[command(flatten)]
        to: Recipient,
    },
    /// Change the number of workers of a running cluster
    Scale {
        /// Number of workers from now on
        #[arg(value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        workers: u32,
        #[command(flatten)]
        to: Recipient,
    },
    /// Stop a running cluster after what is in flight is done
    Stop {
        #[command(flatten)]
        to: Recipient,
    },
}

/// Which cluster is meant.
#[derive(Debug, Args)]
pub struct Recipient {
    /// Port where its clients connect [env: PORT] [default: 3100]
    #[arg(long, value_name = "PORT")]
    pub port: Option<String>,
    /// Its control socket [env: CLUSTER_CONTROL] [default: the one that belongs to the port]
    #[arg(long, value_name = "PATH")]
    pub control: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
