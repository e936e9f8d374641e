//! A cluster that runs an example.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use rustix::process::Signal;
use serde_json::Value;
use shared_testkit::connection::{Answer, Connection};
use shared_testkit::log::Log;
use shared_testkit::process::{send_signal, wait};
use shared_testkit::{DEADLINE, eventually};

use crate::example;

/// Variable that marks all processes of a cluster, wherever they are.
const MARK: &str = "FRAMEWORK_TEST";

/// A running cluster of two workers; dropping it kills it.
pub(crate) struct Cluster {
    child: Child,
    pub(crate) address: SocketAddr,
    admin: SocketAddr,
    pub(crate) directory: PathBuf,
    log: Log,
    mark: String,
    /// Home, temporary directory and control socket.
    private: tempfile::TempDir,
}

impl Cluster {
    /// Starts the installed example of this name with its own command. Returns the time to
    /// the first answer, too.
    pub(crate) fn start(name: &str) -> (Self, Duration) {
        let installed = example::installed();
        let directory = installed.join(name);
        assert!(directory.is_dir(), "{name} is not installed: .ci/frameworks {name}");
        let private = tempfile::tempdir().unwrap();
        let control = private.path().join("control");
        let options = format!("--workers 2 --port 0 --admin 127.0.0.1:0 --control {}", control.display());
        let command = example::command(&directory).replacen("--workers 4", &options, 1);
        let balancer = Path::new(env!("CARGO_BIN_EXE_balancer")).parent().unwrap();
        let path = format!(
            "{}:{}:{}",
            installed.join("python/bin").display(),
            balancer.display(),
            env::var("PATH").unwrap()
        );
        let mark = private.path().display().to_string();
        let begin = Instant::now();
        let mut child = Command::new("sh")
            .args(["-c", &format!("exec {command}")])
            .env_clear()
            .envs([("PATH", path.as_str()), ("HOME", &mark), ("TMPDIR", &mark), (MARK, &mark)])
            .current_dir(&directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Log::follow(child.stderr.take().unwrap());
        let nowhere = ([127, 0, 0, 1], 0).into();
        let mut cluster = Self { child, address: nowhere, admin: nowhere, directory, log, mark, private };
        cluster.address = eventually("the cluster listens", || cluster.log.address());
        let url =
            cluster.log.events().into_iter().find_map(|event| event["admin"].as_str().map(str::to_owned));
        cluster.admin = url.unwrap().strip_prefix("http://").unwrap().parse().unwrap();
        eventually("it answers", || cluster.get("/").ok()?.text().contains("hello").then_some(()));
        let first_answer = begin.elapsed();
        eventually("both workers are online", || (cluster.online().len() == 2).then_some(()));
        (cluster, first_answer)
    }

    pub(crate) fn get(&self, path: &str) -> std::io::Result<Answer> {
        get(self.address, path)
    }

    /// What the admin listener says.
    pub(crate) fn admin(&self, path: &str) -> Value {
        get(self.admin, path).unwrap().json()
    }

    pub(crate) fn workers(&self) -> Vec<Value> {
        self.admin("/cluster/workers")["workers"].as_array().unwrap().clone()
    }

    /// Number, pid and port of each worker that is online.
    pub(crate) fn online(&self) -> Vec<(u64, u32, u16)> {
        let number = |worker: &Value, key: &str| worker[key].as_u64();
        let online = |worker: &Value| {
            let pid = u32::try_from(number(worker, "pid")?).ok()?;
            (worker["state"] == "online").then_some(())?;
            Some((number(worker, "id")?, pid, u16::try_from(number(worker, "port")?).ok()?))
        };
        self.workers().iter().filter_map(online).collect()
    }

    pub(crate) fn in_flight(&self) -> u64 {
        self.workers().iter().filter_map(|worker| worker["inFlight"].as_u64()).sum()
    }

    /// How the two workers ended that a reload has replaced, each way once. They may still
    /// drain when the reload is over.
    pub(crate) fn exits(&self) -> Vec<String> {
        let mut exits = eventually("both old workers have ended", || {
            let events = self.admin("/events");
            let events = events.as_array().or(events["events"].as_array()).unwrap();
            let stopped = events.iter().filter(|event| event["kind"] == "stopped");
            let exits: Vec<_> =
                stopped.filter_map(|event| event["detail"].as_str().map(str::to_owned)).collect();
            (exits.len() == 2).then_some(exits)
        });
        exits.sort_unstable();
        exits.dedup();
        exits
    }

    /// `balancer reload`, which must succeed.
    pub(crate) fn reload(&self) {
        let output = Command::new(env!("CARGO_BIN_EXE_balancer"))
            .arg("reload")
            .arg("--control")
            .arg(self.control())
            .env_clear()
            .current_dir(self.private.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    pub(crate) fn control(&self) -> PathBuf {
        self.private.path().join("control")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        send_signal(self.child.id(), signal);
    }

    /// Waits until the balancer has ended by itself, and its log is whole.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let status = wait(&mut self.child).unwrap_or_else(|| panic!("it did not end within {DEADLINE:?}"));
        self.log.finish();
        status
    }

    pub(crate) fn events(&self) -> Vec<Value> {
        self.log.events()
    }

    /// Lines of this worker with this text, so far.
    pub(crate) fn said(&self, worker: u64, text: &str) -> usize {
        let said = |event: &Value| {
            is_of(event, worker) && event["message"].as_str().is_some_and(|said| said.contains(text))
        };
        self.events().iter().filter(|event| said(event)).count()
    }

    /// Command lines of all processes that have been started by this cluster and live, in
    /// whatever group or session they are.
    pub(crate) fn processes(&self) -> Vec<String> {
        let mark = format!("{MARK}={}", self.mark);
        let marked = |process: fs::DirEntry| {
            let environment = fs::read(process.path().join("environ")).ok()?;
            environment.split(|&byte| byte == 0).find(|&variable| variable == mark.as_bytes())?;
            let line = fs::read_to_string(process.path().join("cmdline")).ok()?;
            Some(line.replace('\0', " "))
        };
        fs::read_dir("/proc").unwrap().filter_map(|process| marked(process.ok()?)).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Gone already unless the test has failed; workers follow their primary.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.log.finish();
        if thread::panicking() {
            eprintln!("log of the cluster:\n{}", self.log.lines().join("\n"));
        }
    }
}

/// Whether a line of the log is of this worker.
pub(crate) fn is_of(event: &Value, worker: u64) -> bool {
    event["worker"] == worker || event["worker"] == worker.to_string().as_str()
}

fn get(address: SocketAddr, path: &str) -> std::io::Result<Answer> {
    let mut connection = Connection::open(address)?;
    connection.send_as("GET", path, &[("host", "localhost"), ("connection", "close")], b"")?;
    connection.receive(false)
}
