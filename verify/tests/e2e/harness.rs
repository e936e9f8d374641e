//! Runs `verify` and what it is to judge, and takes all of it down again.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use shared_process::port::ReservedPort;

/// Longest that anything a test waits for may take on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// The balancer that was built beside `verify`: `cargo test --workspace` builds
/// both, `cargo build -p balancer` this one alone.
pub fn balancer() -> PathBuf {
    let path = PathBuf::from(env!("CARGO_BIN_EXE_verify")).with_file_name("balancer");
    assert!(
        path.is_file(),
        "these tests need the balancer at {}: build it first with `cargo build -p balancer`, \
         or run `cargo test --workspace`",
        path.display()
    );
    path
}

/// Waits until `condition` gives a value.
pub fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(start.elapsed() < DEADLINE, "waited {DEADLINE:?} in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Does the process exist (a zombie does not count)?
pub fn is_alive(pid: u32) -> bool {
    verify::proc::is_alive(pid)
}

pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_verify"));
    command
        .args(arguments)
        .env_remove("REDIS_URL")
        .env_remove("NO_COLOR")
        .env_remove("CARGO")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// What `verify` had to say.
#[derive(Debug)]
pub struct Outcome {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|err| panic!("{err}: {self:?}"))
    }

    /// The outcome of one check, in a JSON report.
    pub fn of(&self, check: &str) -> String {
        let document = self.json();
        let checks = document["checks"].as_array().unwrap();
        let found = checks.iter().find(|one| one["name"] == check);
        found.map_or("did not run".to_owned(), |one| one["outcome"].as_str().unwrap().to_owned())
    }

    pub fn checks(&self) -> Vec<Value> {
        self.json()["checks"].as_array().unwrap().clone()
    }
}

pub fn verify(arguments: &[&str]) -> Outcome {
    finish(command(arguments).spawn().unwrap())
}

/// Waits for its end, killing it when that does not come.
pub fn finish(mut child: Child) -> Outcome {
    let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let stdout = thread::spawn(move || text_of(&mut out));
    let stderr = thread::spawn(move || text_of(&mut err));
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if start.elapsed() > 3 * DEADLINE {
            let _ = child.kill();
        }
        thread::sleep(Duration::from_millis(5));
    };
    let (stdout, stderr) = (stdout.join().unwrap(), stderr.join().unwrap());
    Outcome { code: status.code().unwrap_or(-1), stdout, stderr }
}

fn text_of(reader: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A real cluster on a free port; dropping it kills it.
pub struct Cluster {
    child: Child,
    pub address: SocketAddr,
    directory: tempfile::TempDir,
}

impl Cluster {
    pub fn start(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut child = Command::new(balancer())
            .args(["--port", "0", "--host", "127.0.0.1", "--log-format", "json"])
            .args(arguments)
            .env_remove("REDIS_URL")
            .env("TMPDIR", directory.path())
            .env("CLUSTER_CONTROL", directory.path().join("control.sock"))
            .env("CLUSTER_ADMIN", "off")
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (found, address) = mpsc::channel();
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let event: Value = serde_json::from_str(&line).unwrap_or_default();
                let url = event["url"].as_str().and_then(|url| url.strip_prefix("http://"));
                if let Some(Ok(address)) = event["address"].as_str().or(url).map(str::parse::<SocketAddr>) {
                    let _ = found.send(address);
                }
            }
        });
        let address = address.recv_timeout(DEADLINE).expect("the balancer listens");
        Self { child, address, directory }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Replaces all of its workers.
    pub fn reload(&self) {
        let mut command = Command::new(balancer());
        command.args(["reload", "--control"]).arg(self.directory.path().join("control.sock"));
        let status =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        assert!(status.success(), "reload: {status}");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A real `redis-server` on a free port, without persistence; `None` when it is
/// not installed.
pub struct Redis {
    child: Child,
    pub port: u16,
    _directory: tempfile::TempDir,
    _reserved: ReservedPort,
}

impl Redis {
    pub fn start() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        // Redis cannot take port 0: ask the system for a free one.
        let reserved = ReservedPort::take().unwrap();
        let port = reserved.number();
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let redis = Self { child, port, _directory: directory, _reserved: reserved };
        eventually("redis-server listens", || TcpStream::connect(("127.0.0.1", port)).ok());
        Some(redis)
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
