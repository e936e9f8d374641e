//! The worker as a process: started on a free port, killed on drop.

use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use shared_testkit::log::Log;
use shared_testkit::process;
use shared_testkit::program::{Output, Program};
use tempfile::TempDir;

pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// A command that runs the worker in an empty directory, without the variables
/// of whoever runs the tests.
pub(crate) fn command(directory: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_worker"));
    command.env_clear().current_dir(directory.path()).env("TMPDIR", directory.path());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

pub(crate) struct Worker {
    child: Child,
    pub(crate) port: u16,
    log: Log,
    /// Its working and temporary directory.
    pub(crate) directory: TempDir,
}

impl Worker {
    pub(crate) fn start() -> Self {
        Self::start_with(&[], &[])
    }

    pub(crate) fn start_with(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut command = command(&directory);
        command.args(["--port", "0", "--log-format", "json"]).args(arguments);
        command.envs(variables.iter().copied());
        let mut child = command.spawn().unwrap();
        let log = Log::follow(child.stderr.take().unwrap());
        let mut worker = Self { child, port: 0, log, directory };
        let listening = worker.wait_for_log("listening");
        worker.port = u16::try_from(listening["port"].as_u64().unwrap()).unwrap();
        worker
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The first log entry whose message contains `text`.
    pub(crate) fn wait_for_log(&self, text: &str) -> Value {
        let matching = |entry: &Value| entry["message"].as_str().is_some_and(|m| m.contains(text));
        let deadline = Instant::now() + LIMIT;
        loop {
            let log = self.log();
            if let Some(entry) = log.iter().find(|entry| matching(entry)) {
                return entry.clone();
            }
            assert!(Instant::now() < deadline, "no {text:?} in the log: {log:#?}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn log(&self) -> Vec<Value> {
        self.log.events()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        process::send_signal(self.pid(), signal);
    }

    /// Waits for its end, and says how long that took.
    pub(crate) fn wait(&mut self) -> (ExitStatus, Duration) {
        let began = Instant::now();
        (wait(&mut self.child), began.elapsed())
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn wait(child: &mut Child) -> ExitStatus {
    process::wait(child).expect("the process does not end")
}

/// Runs a command that is expected to end by itself.
pub(crate) fn run(command: &mut Command) -> Output {
    Program::start(command).wait(LIMIT)
}
