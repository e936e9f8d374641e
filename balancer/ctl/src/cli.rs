//! The subcommands that talk to a running cluster, as typed.

use clap::{Arg, Args, Subcommand};
use shared_settings::{Definition, Flags, TakenFlags};

/// What can be asked of a running cluster.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Show the workers of a running cluster, their load and the latest events
    Status {
        #[command(flatten)]
        to: Recipient,
        /// Show it every second until Ctrl-C: in place on a terminal; into a pipe one line a second
        /// and one for each event, or with --json one object a second
        #[arg(short, long)]
        watch: bool,
    },
    /// Replace all workers of a running cluster without losing a request: the new ones
    /// take over when all of them are ready; if one of them fails, the old ones stay
    Reload {
        #[command(flatten)]
        to: Recipient,
    },
    /// Change the number of workers of a running cluster
    Scale {
        /// The new number of workers
        #[arg(value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        workers: u32,
        #[command(flatten)]
        to: Recipient,
    },
    /// Stop a running cluster once its requests in flight are done
    Stop {
        #[command(flatten)]
        to: Recipient,
    },
}

/// Which cluster is meant, and how it answers.
#[derive(Debug, Args)]
pub struct Recipient {
    #[command(flatten)]
    pub flags: Flags<Control>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// The settings by which a running cluster is found.
#[derive(Debug)]
pub enum Control {}

impl TakenFlags for Control {
    const ONLY_LOOKS: bool = true;

    fn arg(definition: &Definition, _: &'static str) -> Option<Arg> {
        let help = match definition.flag {
            Some("port") => definition.flag_help("Port where its clients connect"),
            Some("control") => format!(
                "Its control socket [env: {}] [default: the one that belongs to the port]",
                definition.variable
            ),
            Some("config") => definition.flag_help("File of the cluster's settings, which may name these"),
            _ => return None,
        };
        definition.arg().map(|arg| arg.help(help))
    }
}
