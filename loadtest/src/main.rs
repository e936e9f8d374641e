//! `loadtest`: parse, run, exit code.

use std::process::ExitCode;

use clap::Parser;
use loadtest::cli::Cli;

fn main() -> ExitCode {
    match loadtest::run(&Cli::parse()) {
        Ok(exit) => exit.into(),
        Err(err) => {
            eprintln!("loadtest: {err}");
            err.exit().into()
        }
    }
}
