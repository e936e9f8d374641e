//! `worker`: one process that answers the cluster's HTTP API.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    if let Some(code) = shared_manual::answer::<worker::Cli>(&arguments) {
        return code;
    }
    let cli = worker::Cli::parse_from(arguments);
    if cli.supervised { worker::run_supervised() } else { worker::run_with_flags(cli.flags) }
}
