//! `verify`: proves or breaks the promises of a cluster.

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;

/// Something went wrong here, which says nothing of the cluster.
const FAILED: u8 = 1;

fn main() -> ExitCode {
    let run = || {
        verify::cluster::guard::enter(std::env::args_os()).context("could not start a guarded process")?;
        verify::run(&verify::cli::Cli::parse())
    };
    run().unwrap_or_else(|err| {
        eprintln!("verify: {err:#}");
        ExitCode::from(FAILED)
    })
}
