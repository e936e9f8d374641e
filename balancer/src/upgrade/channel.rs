//! Lines between a predecessor and its successor.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

/// No line is longer, in bytes.
const LONGEST: u64 = 64 * 1024;

#[derive(Debug)]
pub(super) struct Channel(BufReader<UnixStream>);

impl Channel {
    /// To be called on an event loop.
    ///
    /// # Errors
    /// When the event loop does not take it.
    pub(super) fn new(stream: std::os::unix::net::UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self(BufReader::new(UnixStream::from_std(stream)?)))
    }

    /// # Errors
    /// When the other side is gone.
    pub(super) async fn send(&mut self, message: &impl Serialize) -> io::Result<()> {
        self.0.get_mut().write_all(&line(message)).await
    }

    /// The next message, or none when the other side is gone.
    ///
    /// # Errors
    /// When a line is none, or too long.
    pub(super) async fn receive<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        let mut line = Vec::new();
        (&mut self.0).take(LONGEST).read_until(b'\n', &mut line).await?;
        if line.is_empty() {
            return Ok(None);
        }
        Ok(Some(serde_json::from_slice(&line)?))
    }
}

/// A message as it is sent.
pub(super) fn line(message: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(message).expect("messages are plain data that always serialises");
    line.push(b'\n');
    line
}
