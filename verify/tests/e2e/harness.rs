//! Runs `verify` and what it is to judge, and takes all of it down again.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
pub use shared_testkit::control::address;
pub use shared_testkit::eventually;
use shared_testkit::log::Log;
pub use shared_testkit::process::{is_alive, send_signal};
use shared_testkit::program::{Output, Program};

/// The longest that a run of `verify` may take on a busy machine.
const RUN_LIMIT: Duration = Duration::from_secs(180);

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
pub fn finish(child: Child) -> Outcome {
    let Output { code, stdout, stderr } = Program::of(child).wait(RUN_LIMIT);
    Outcome { code, stdout, stderr }
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
        let short_form = ["--port", "0", "--host", "127.0.0.1"];
        let place = if arguments.contains(&"--listen") { &[][..] } else { &short_form };
        let mut child = Command::new(balancer())
            .args(place)
            .args(["--log-format", "json"])
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
        let log = Log::follow(child.stderr.take().unwrap());
        // Dropped also when it never says where it listens.
        let mut cluster = Self { child, address: ([127, 0, 0, 1], 0).into(), directory };
        cluster.address = eventually("the balancer listens", || log.address());
        cluster
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
