//! A private Redis server, to be taken away.

use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use shared_process::port::ReservedPort;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::guard;
use crate::proc;

const START_LIMIT: Duration = Duration::from_secs(20);

#[derive(Debug, thiserror::Error)]
pub enum RedisError {
    #[error("redis-server is not installed")]
    Missing,
    #[error("could not start redis-server: {0}")]
    Start(io::Error),
    #[error("redis-server did not answer within {START_LIMIT:?}")]
    Slow,
}

/// Killed when dropped.
#[derive(Debug)]
pub struct Redis {
    child: Child,
    pub port: u16,
    directory: tempfile::TempDir,
    /// While it is down as well.
    _reserved: ReservedPort,
}

impl Redis {
    pub async fn start() -> Result<Self, RedisError> {
        // Redis has no way to take any free port.
        let reserved = ReservedPort::take().map_err(RedisError::Start)?;
        let port = reserved.number();
        let directory = tempfile::tempdir().map_err(RedisError::Start)?;
        let child = launch(port, &directory)?;
        let mut redis = Self { child, port, directory, _reserved: reserved };
        redis.answers().await?;
        Ok(redis)
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Stops its answers, not its connections.
    pub fn freeze(&self) {
        proc::signal(self.child.id(), Signal::STOP);
    }

    pub fn thaw(&self) {
        proc::signal(self.child.id(), Signal::CONT);
    }

    pub fn kill(&mut self) {
        // An error says that it is dead already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again, empty, on the same port.
    pub async fn restart(&mut self) -> Result<(), RedisError> {
        self.kill();
        self.child = launch(self.port, &self.directory)?;
        self.answers().await
    }

    async fn answers(&mut self) -> Result<(), RedisError> {
        let began = Instant::now();
        while began.elapsed() < START_LIMIT {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(RedisError::Start(io::Error::other(format!("it ended with {status}"))));
            }
            if ping(self.port).await.unwrap_or(false) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err(RedisError::Slow)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

fn launch(port: u16, directory: &tempfile::TempDir) -> Result<Child, RedisError> {
    find()?;
    guard::command(Path::new("redis-server"))
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(RedisError::Start)
}

/// Is it installed?
fn find() -> Result<(), RedisError> {
    let mut command = Command::new("redis-server");
    let found =
        command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    match found {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(RedisError::Start(io::Error::other(format!("it ended with {status}")))),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Err(RedisError::Missing),
        Err(err) => Err(RedisError::Start(err)),
    }
}

async fn ping(port: u16) -> io::Result<bool> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(b"PING\r\n").await?;
    let mut reply = [0; 7];
    stream.read_exact(&mut reply).await?;
    Ok(&reply == b"+PONG\r\n")
}
