//! `balancer`: runs an HTTP service as a cluster on this machine.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    balancer::run(balancer::cli::Cli::parse())
}
