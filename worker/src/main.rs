use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    worker::run(&worker::Cli::parse())
}
