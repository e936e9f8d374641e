//! What a balancer says on its control socket.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::Value;

use crate::DEADLINE;

/// `GET /status` on the socket at `path`; `None` as long as nobody answers.
pub fn status(path: &Path) -> Option<Value> {
    let mut stream = UnixStream::connect(path).ok()?;
    stream.set_read_timeout(Some(DEADLINE)).ok()?;
    stream.write_all(b"GET /status HTTP/1.1\r\nhost: control\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    serde_json::from_str(body).ok()
}

/// Where the cluster behind the socket at `path` listens; `None` as long as it
/// does not say so.
pub fn address(path: &Path) -> Option<SocketAddr> {
    status(path)?["address"].as_str()?.parse().ok()
}
