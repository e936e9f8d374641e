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
    /// Show the last lines that the workers of a running cluster have printed
    Logs {
        #[command(flatten)]
        to: Recipient,
        #[command(flatten)]
        which: WhichLines,
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

/// Which lines are meant.
#[derive(Debug, Args)]
pub struct WhichLines {
    /// Show further lines as they come, until Ctrl-C or until the cluster ends
    #[arg(short, long)]
    pub follow: bool,
    /// Only those of the worker with this number
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub worker: Option<u32>,
    /// How many lines from before to show
    #[arg(short = 'n', long, value_name = "LINES", default_value_t = 15)]
    pub lines: usize,
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
    fn arg(definition: &Definition, _: &'static str) -> Option<Arg> {
        let help = match definition.flag {
            Some("port") => definition.flag_help("Port where its clients connect"),
            Some("control") => format!(
                "Its control socket [env: {}] [default: the one that belongs to the port]",
                definition.variable
            ),
            _ => return None,
        };
        definition.arg().map(|arg| arg.help(help))
    }
}
