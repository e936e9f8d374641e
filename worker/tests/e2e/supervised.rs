//! Below a primary: the socket on standard input, identity, and the end with
//! the primary.

use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http::{FromWorker, get};
use crate::process::{LIMIT, command, run, wait};

/// A worker whose primary is this test.
pub(crate) struct Worker {
    child: Child,
    pub(crate) port: u16,
    /// Dropping it is the primary's death.
    link: Option<BufReader<UnixStream>>,
    directory: TempDir,
}

impl Worker {
    pub(crate) fn start_with(variables: &[(&str, &str)]) -> Self {
        let (mut worker, message) = Self::launch(variables);
        assert_eq!(message["event"], "listening", "{message}");
        worker.port = u16::try_from(message["port"].as_u64().unwrap()).unwrap();
        worker
    }

    /// The worker, and the first thing that it says.
    fn launch(variables: &[(&str, &str)]) -> (Self, Value) {
        let directory = tempfile::tempdir().unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(LIMIT)).unwrap();
        let child = command(&directory)
            .arg("--supervised")
            .envs([("HOST", "127.0.0.1"), ("PORT", "0"), ("LOG_FORMAT", "text")])
            .envs([("WORKER_ID", "3"), ("WORKER_COUNT", "4"), ("WORKER_GENERATION", "7")])
            .env("CLUSTER_STATE_DIR", directory.path().join("state"))
            .envs(variables.iter().copied())
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()
            .unwrap();
        let mut link = BufReader::new(ours);
        let mut line = String::new();
        link.read_line(&mut line).unwrap();
        let message = serde_json::from_str(&line).unwrap_or_else(|err| panic!("{err}: {line:?}"));
        (Self { child, port: 0, link: Some(link), directory }, message)
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn log(&mut self) -> String {
        let mut text = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        text
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn it_knows_who_it_is() {
    let worker = Worker::start_with(&[]);
    let pid = worker.child.id();
    let info = get(worker.port, "/cluster/info");
    assert_eq!(info.header("x-worker-id"), Some("3"));
    assert_eq!(info.ok()["worker"], json!({"id": 3, "pid": pid, "isPrimary": false, "isWorker": true}));
    assert_eq!(get(worker.port, "/health").ok()["worker"], json!({"id": 3, "pid": pid}));
    get(worker.port, "/cluster/workers").assert_problem(421, &["primary"]);
    assert!(worker.directory.path().join("state").exists());
}

#[test]
fn it_dies_with_its_primary() {
    let mut worker = Worker::start_with(&[]);
    let began = Instant::now();
    worker.link = None;
    let status = wait(&mut worker.child);
    assert!(!status.success());
    assert!(began.elapsed() < Duration::from_millis(500), "it took {:?}", began.elapsed());
    assert!(std::net::TcpStream::connect(("127.0.0.1", worker.port)).is_err());
}

#[test]
fn terminate_stops_it_and_interrupt_does_not() {
    let mut worker = Worker::start_with(&[("RUST_LOG", "worker=debug")]);
    worker.signal(Signal::INT);
    for _ in 0..20 {
        get(worker.port, "/health").ok();
    }
    worker.signal(Signal::TERM);
    let status = wait(&mut worker.child);
    assert_eq!(status.code(), Some(0));
    let log = worker.log();
    assert!(log.contains("listening") && log.contains("stopping"), "{log}");
    for line in log.lines() {
        assert!(
            line.starts_with("DEBUG ") || line.starts_with(" INFO "),
            "level first and no time: {line:?}"
        );
    }
}

#[test]
fn it_says_why_there_will_be_no_worker() {
    for (variables, words) in [
        (&[("HOST", "192.0.2.1")], "could not bind 192.0.2.1:0"),
        (&[("PORT", "x")], "PORT"),
        (&[("WORKER_ID", "")], "WORKER_ID"),
        (&[("CLUSTER_STATE_DIR", "/proc/no/such")], "/proc/no/such"),
        (&[("CLUSTER_STATE_DIR", "")], "CLUSTER_STATE_DIR"),
    ] {
        let (mut worker, message) = Worker::launch(variables);
        assert_eq!(message["event"], "failed", "{message}");
        let reason = message["reason"].as_str().unwrap();
        assert!(reason.contains(words), "{reason}");
        assert!(!wait(&mut worker.child).success());
    }
}

#[test]
fn without_a_primary_it_does_not_start() {
    let directory = tempfile::tempdir().unwrap();
    let output = run(command(&directory).arg("--supervised"));
    assert_eq!(output.code, 2);
    assert!(output.stderr.contains("only a primary"), "{output:?}");
}
