//! `verify`: proves or breaks the promises of a cluster.

use std::process::ExitCode;

use clap::Parser;

fn main() -> anyhow::Result<ExitCode> {
    verify::run(&verify::cli::Cli::parse())
}
