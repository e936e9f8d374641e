//! `balancer`: runs an HTTP service as a cluster on this machine.

use std::process::ExitCode;

fn main() -> ExitCode {
    balancer::run(std::env::args_os())
}
