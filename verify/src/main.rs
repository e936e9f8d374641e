//! `verify`: proves or breaks the promises of a cluster.

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use verify::cli::Cli;

/// Something went wrong here, which says nothing of the cluster.
const FAILED: u8 = 1;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    if let Some(code) = shared_manual::answer::<Cli>(&arguments) {
        return code;
    }
    let run = || {
        verify::cluster::guard::enter(arguments.iter().cloned())
            .context("could not start a guarded process")?;
        verify::run(&Cli::parse_from(&arguments))
    };
    run().unwrap_or_else(|err| {
        eprintln!("verify: {err:#}");
        ExitCode::from(FAILED)
    })
}
