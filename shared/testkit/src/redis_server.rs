//! A real `redis-server` for a test: its own directory, a free port, killed on
//! drop. Also used by the tests of other crates.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use shared_process::port::ReservedPort;
use tempfile::TempDir;

const START_LIMIT: Duration = Duration::from_secs(20);

pub struct RedisServer {
    child: Option<Child>,
    pub directory: TempDir,
    /// 0 when it listens on its Unix socket only.
    pub port: u16,
    /// A file that comes before all options; Sentinel needs one.
    pub configuration: Option<PathBuf>,
    pub options: Vec<String>,
    /// Its ports, kept while it is away as well.
    pub reserved: Vec<ReservedPort>,
}

impl RedisServer {
    /// On a Unix socket and a free TCP port.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// As [`Self::start`], with further options such as `["--requirepass", "x"]`.
    pub fn start_with(options: &[&str]) -> Self {
        let mut server = Self::on_port(options);
        server.run();
        server
    }

    /// On a port that is kept for it, not started yet.
    pub fn on_port(options: &[&str]) -> Self {
        let port = ReservedPort::take().unwrap();
        let mut server = Self::new(port.number(), options);
        server.reserved.push(port);
        server
    }

    /// Not started yet; `run` does it.
    pub fn new(port: u16, options: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = options.iter().map(|&option| option.to_owned()).collect();
        Self { child: None, directory, port, configuration: None, options, reserved: vec![] }
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("redis.sock")
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Starts it again on its port.
    pub fn run(&mut self) {
        let deadline = Instant::now() + START_LIMIT;
        while !self.try_run() {
            assert!(Instant::now() < deadline, "redis-server does not start on port {}", self.port);
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn try_run(&mut self) -> bool {
        let child = Command::new("redis-server")
            .args(&self.configuration)
            .args([
                "--port",
                &self.port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
            ])
            .arg("--dir")
            .arg(self.directory.path())
            .arg("--unixsocket")
            .arg(self.socket())
            .args(&self.options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("this test needs redis-server: apt-get install redis-server");
        self.child = Some(child);
        let deadline = Instant::now() + START_LIMIT;
        loop {
            if self.child.as_mut().unwrap().try_wait().unwrap().is_some() {
                self.child = None;
                return false;
            }
            if self.answers() {
                return true;
            }
            assert!(Instant::now() < deadline, "redis-server does not answer");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Any answer will do, that a password is needed included.
    fn answers(&self) -> bool {
        let ping = |mut socket: UnixStream| {
            socket.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
            socket.write_all(b"PING\r\n").ok()?;
            socket.read(&mut [0; 64]).ok().filter(|&count| count > 0)
        };
        let on_port = || self.port == 0 || TcpStream::connect(("127.0.0.1", self.port)).is_ok();
        UnixStream::connect(self.socket()).ok().and_then(ping).is_some() && on_port()
    }

    /// Kills it; its data is gone.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// It neither answers nor closes connections until [`Self::thaw`].
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("redis-server runs");
        kill_process(Pid::from_child(child), signal).unwrap();
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.stop();
    }
}
