//! `loadtest`: parse, run, exit code.

use std::process::ExitCode;

use clap::Parser;
use loadtest::cli::Cli;
use loadtest::plan::UsageError;
use loadtest::{Exit, run};

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(exit) => exit.into(),
        Err(err) => {
            eprintln!("loadtest: {err:#}");
            if err.is::<UsageError>() { Exit::Usage.into() } else { Exit::Failed.into() }
        }
    }
}
