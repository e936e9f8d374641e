//! `worker`: one process that answers the cluster's HTTP API.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = worker::Cli::parse();
    if cli.supervised { worker::run_supervised() } else { worker::run_with_flags(cli.flags) }
}
