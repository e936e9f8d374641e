//! Runs the program to its end, or to a deadline.

use std::process::Command;
use std::time::Duration;

use shared_testkit::program::Output;
use shared_testkit::server::Server;

/// No test waits longer for the program.
const DEADLINE: Duration = Duration::from_secs(60);

/// A program that runs; killed when the test is over.
pub(crate) struct Program(shared_testkit::program::Program);

impl Program {
    /// Starts it with `args`, in a directory and an environment without settings.
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_loadtest"));
        command.args(args).current_dir(env!("CARGO_TARGET_TMPDIR")).env_remove("HOST").env_remove("PORT");
        Self(shared_testkit::program::Program::start(&mut command))
    }

    pub(crate) fn interrupt(&self) {
        self.0.signal(rustix::process::Signal::INT);
    }

    pub(crate) fn wait(self) -> Output {
        self.0.wait(DEADLINE)
    }
}

/// Runs it with `args`, split at spaces.
pub(crate) fn run(args: &str) -> Output {
    run_args(&args.split(' ').filter(|arg| !arg.is_empty()).collect::<Vec<_>>())
}

pub(crate) fn run_args(args: &[&str]) -> Output {
    Program::start(args).wait()
}

/// The connections of a load, without the one by which the program finds out that
/// somebody is there.
pub(crate) fn connections(server: &Server) -> u64 {
    server.connections() - 1
}
