//! The worker as a process: started on a free port, killed on drop.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
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
    log: Arc<Mutex<Vec<Value>>>,
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
        let log = Arc::new(Mutex::new(Vec::new()));
        collect(child.stderr.take().unwrap(), Arc::clone(&log));
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
        let deadline = Instant::now() + LIMIT;
        loop {
            let log = self.log();
            let matching = |entry: &&Value| entry["message"].as_str().is_some_and(|m| m.contains(text));
            if let Some(entry) = log.iter().find(matching) {
                return entry.clone();
            }
            assert!(Instant::now() < deadline, "no {text:?} in the log: {log:#?}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn log(&self) -> Vec<Value> {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
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
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(Instant::now() < deadline, "the process does not end");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Runs a command that is expected to end by itself.
pub(crate) fn run(command: &mut Command) -> Output {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    // What it writes fits into the pipes.
    let deadline = Instant::now() + LIMIT;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            let _ = child.kill();
            panic!("the process does not end by itself: {:?}", child.wait_with_output());
        }
        thread::sleep(Duration::from_millis(2));
    }
    child.wait_with_output().unwrap()
}

/// Each line must be JSON: a test that sees another one fails by its log.
fn collect(stream: impl Read + Send + 'static, log: Arc<Mutex<Vec<Value>>>) {
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let entry =
                serde_json::from_str(&line).unwrap_or_else(|_| serde_json::json!({ "not json": line }));
            log.lock().unwrap().push(entry);
        }
    });
}

/// Waits until `done` is true.
pub(crate) fn eventually(what: &str, limit: Duration, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !done() {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
