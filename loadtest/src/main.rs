//! `loadtest`: parse, run, exit code.

use std::process::ExitCode;

use clap::Parser;
use loadtest::cli::Cli;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    if let Some(code) = shared_manual::answer::<Cli>(&arguments) {
        return code;
    }
    match loadtest::run(&Cli::parse_from(arguments)) {
        Ok(exit) => exit.into(),
        Err(err) => {
            eprintln!("loadtest: {err}");
            err.exit().into()
        }
    }
}
