//! Starts real clusters on free ports and takes them down again, whatever the
//! test does. Nothing here sleeps and hopes: [`eventually`] waits for a
//! condition and fails with its name when the deadline passes.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::process::Signal;
use serde_json::Value;

pub use shared_testkit::connection::{Answer, Connection};
use shared_testkit::process::wait;
pub use shared_testkit::process::{is_alive, killed_by, send_signal};
pub use shared_testkit::{DEADLINE, eventually};

/// A balancer's command line, in an empty directory and environment.
pub struct Balancer {
    arguments: Vec<String>,
    environment: HashMap<String, String>,
    directory: tempfile::TempDir,
    descriptors: Option<u32>,
    program: PathBuf,
    /// A command that runs it, and its arguments.
    below: Vec<String>,
}

impl Balancer {
    pub fn new(arguments: &[&str]) -> Self {
        Self {
            arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
            environment: HashMap::new(),
            directory: tempfile::tempdir().unwrap(),
            descriptors: None,
            program: env!("CARGO_BIN_EXE_balancer").into(),
            below: Vec::new(),
        }
    }

    /// Runs this copy of the executable.
    pub fn run_as(mut self, program: &Path) -> Self {
        self.program = program.to_owned();
        self
    }

    /// Is run by `command`.
    pub fn run_below(mut self, command: &str, arguments: &[&str]) -> Self {
        self.below = [&[command], arguments].concat().into_iter().map(str::to_owned).collect();
        self
    }

    /// Runs below `ulimit -n`.
    pub fn limit_descriptors(mut self, limit: u32) -> Self {
        self.descriptors = Some(limit);
        self
    }

    /// `workers` workers on a free port.
    pub fn cluster(workers: u32) -> Self {
        Self::new(&["--port", "0", "--workers", &workers.to_string()])
    }

    /// The Node program of these tests, as `workers` workers. Options go before it.
    pub fn program(workers: u32, options: &[&str]) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/programs/server.js");
        let mut balancer = Self::cluster(workers).with(options).with(&["--", "node", script]);
        balancer.environment.insert("PATH".to_owned(), std::env::var("PATH").unwrap());
        balancer
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    pub fn dotenv(self, text: &str) -> Self {
        std::fs::write(self.directory.path().join(".env"), text).unwrap();
        self
    }

    fn command(&self) -> Command {
        let program = &self.program;
        let mut command = match (self.descriptors, &self.below[..]) {
            (None, []) => Command::new(program),
            (None, [command, arguments @ ..]) => {
                let mut below = Command::new(command);
                below.args(arguments).arg(program);
                below
            }
            (Some(limit), _) => {
                let mut shell = Command::new("/bin/sh");
                shell.args(["-c", &format!("ulimit -n {limit}; exec \"$0\" \"$@\"")]).arg(program);
                shell
            }
        };
        command
            .args(&self.arguments)
            .env_clear()
            .env("TMPDIR", self.directory.path())
            .envs(&self.environment)
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs to the end: for command lines that are refused.
    pub fn output(self) -> (i32, String) {
        let mut child = self.command().spawn().unwrap();
        let status = wait(&mut child).expect("it was expected to end at once");
        let mut text = String::new();
        child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        (status.code().unwrap_or(-1), text)
    }

    /// As [`Self::start_ready`], with a log that is read no further once the
    /// cluster listens, and held open.
    pub fn start_unread(self) -> (Cluster, BufReader<ChildStderr>) {
        let mut child = self.command().spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let listening = loop {
            let mut line = String::new();
            assert!(stderr.read_line(&mut line).unwrap() > 0, "the balancer ended");
            if let Some(listening) = Listening::of(&line) {
                break listening;
            }
        };
        let cluster = Cluster {
            child,
            address: listening.address,
            admin: listening.admin,
            control: listening.control,
            log: Arc::default(),
            reader: None,
            directory: self.directory,
        };
        cluster.wait_ready();
        (cluster, stderr)
    }

    /// Starts the cluster and returns once it listens.
    pub fn start(self) -> Cluster {
        let mut child = self.command().spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        self.follow(child, stderr)
    }

    /// The command, to be started in another way; for [`Self::follow`].
    pub fn to_start(&self) -> Command {
        self.command()
    }

    /// Takes over `child`, whose log comes by `stderr`; returns once the cluster listens.
    pub fn follow(self, child: Child, stderr: impl Read + Send + 'static) -> Cluster {
        let stderr = BufReader::new(stderr);
        let log = Arc::new(Mutex::new(Vec::new()));
        let reader = thread::spawn({
            let log = Arc::clone(&log);
            move || stderr.lines().map_while(Result::ok).for_each(|line| log.lock().unwrap().push(line))
        });
        let mut cluster = Cluster {
            child,
            address: ([127, 0, 0, 1], 0).into(),
            admin: None,
            control: PathBuf::new(),
            log,
            reader: Some(reader),
            directory: self.directory,
        };
        let listening = eventually("the cluster listens", || {
            if let Ok(Some(status)) = cluster.child.try_wait() {
                let log = cluster.log();
                panic!("the balancer ended with {status}: {log:#?}");
            }
            cluster.log().iter().find_map(|line| Listening::of(line))
        });
        Listening { address: cluster.address, admin: cluster.admin, control: cluster.control } = listening;
        cluster
    }

    /// Starts the cluster and returns once all of its workers are online.
    pub fn start_ready(self) -> Cluster {
        let cluster = self.start();
        cluster.wait_ready();
        cluster
    }
}

/// Where a cluster can be reached, as its log says, or a single process's.
struct Listening {
    address: SocketAddr,
    admin: Option<SocketAddr>,
    control: PathBuf,
}

impl Listening {
    /// From the line that says so, in either form of the log.
    fn of(line: &str) -> Option<Self> {
        let event: Value = serde_json::from_str(line).unwrap_or_default();
        let field = |name: &str| match event[name].as_str() {
            Some(text) => Some(text.to_owned()),
            None => {
                let (_, rest) = line.split_once(&format!(" {name}="))?;
                Some(rest.split(' ').next()?.trim_matches('"').to_owned())
            }
        };
        let at = |text: String| text.trim_start_matches("http://").parse().ok();
        let address = field("address").or_else(|| field("url"))?;
        // A Unix socket has none.
        let address = if address.starts_with("unix:") { ([0, 0, 0, 0], 0).into() } else { at(address)? };
        let control = field("control").unwrap_or_default().into();
        Some(Self { address, admin: field("admin").and_then(at), control })
    }
}

/// A running cluster; dropping it kills it.
pub struct Cluster {
    child: Child,
    pub address: SocketAddr,
    /// The admin listener.
    pub admin: Option<SocketAddr>,
    pub control: PathBuf,
    log: Arc<Mutex<Vec<String>>>,
    reader: Option<thread::JoinHandle<()>>,
    directory: tempfile::TempDir,
}

impl Cluster {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// The log's lines, which are JSON as standard error is no terminal.
    pub fn events(&self) -> Vec<Value> {
        self.log().iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The warning about a request that names this fault, once it is in the log.
    pub fn fault(&self, kind: &str) -> Value {
        eventually("it is said", || self.events().into_iter().find(|event| event["fault"] == kind))
    }

    pub fn wait_ready(&self) {
        eventually("all workers are online", || {
            let health = self.admin("/health").json();
            (health["workers"]["online"] == health["workers"]["desired"] && health["status"] != "unavailable")
                .then_some(())
        });
    }

    pub fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[], b"")
    }

    /// A GET of the admin listener, or of the primary's own routes where there is none.
    pub fn admin(&self, path: &str) -> Answer {
        let mut connection = Connection::open(self.admin.unwrap_or(self.address)).unwrap();
        let headers = [("connection", "close"), ("host", "localhost")];
        connection.send_as("GET", path, &headers, b"").unwrap();
        connection.receive(false).unwrap()
    }

    /// Runs `balancer` with a subcommand for this cluster; returns exit code,
    /// standard output and standard error.
    pub fn operate(&self, arguments: &[&str]) -> (i32, String, String) {
        let control = self.control.to_str().unwrap();
        self.operate_plainly(&[arguments, &["--control", control]].concat())
    }

    /// As [`Self::operate`], for arguments that name the cluster themselves.
    pub fn operate_plainly(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_balancer"))
            .args(arguments)
            .env_clear()
            .current_dir(self.directory())
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.request("POST", path, &[("content-type", "application/json")], body.to_string().as_bytes())
    }

    /// One request on a connection of its own.
    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.try_request(method, path, headers, body).unwrap_or_else(|err| panic!("{method} {path}: {err}"))
    }

    pub fn try_request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> std::io::Result<Answer> {
        let mut connection = Connection::open(self.address)?;
        connection.send(method, path, &[headers, &[("connection", "close")]].concat(), body)?;
        connection.receive(method == "HEAD")
    }

    /// The workers as the primary lists them.
    pub fn workers(&self) -> Vec<Value> {
        self.admin("/cluster/workers").json()["workers"].as_array().unwrap().clone()
    }

    pub fn worker_pids(&self) -> Vec<u32> {
        self.workers().iter().filter_map(|worker| Some(worker["pid"].as_u64()? as u32)).collect()
    }

    /// The value of a metric, whose name is without the prefix and with its labels.
    pub fn metric(&self, name: &str) -> u64 {
        let text = self.admin("/metrics").text();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("balancer_{name} ")));
        line.unwrap_or_else(|| panic!("{name} is not among {text}")).parse().unwrap()
    }

    /// Standard output, once.
    pub fn stdout(&mut self) -> ChildStdout {
        self.child.stdout.take().unwrap()
    }

    pub fn signal(&self, signal: Signal) {
        send_signal(self.pid(), signal);
    }

    /// Waits until the balancer has ended by itself.
    pub fn wait(&mut self) -> ExitStatus {
        wait(&mut self.child).unwrap_or_else(|| panic!("the balancer did not end: {:#?}", self.log()))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Gone already in tests that end it; workers follow their primary.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        if thread::panicking() {
            eprintln!("log of the cluster:\n{}", self.log().join("\n"));
        }
    }
}
