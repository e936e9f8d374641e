//! Lines between a predecessor and its successor.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

/// No line is longer, in bytes.
pub(super) const LONGEST: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct Channel {
    stream: BufReader<UnixStream>,
    /// What has come of the next line.
    line: Vec<u8>,
}

impl Channel {
    /// To be called on an event loop.
    ///
    /// # Errors
    /// When the event loop does not take it.
    pub(super) fn new(stream: std::os::unix::net::UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream: BufReader::new(UnixStream::from_std(stream)?), line: Vec::new() })
    }

    /// # Errors
    /// When the other side is gone.
    pub(super) async fn send(&mut self, message: &impl Serialize) -> io::Result<()> {
        self.stream.get_mut().write_all(&line(message)).await
    }

    /// The next message, or none when the other side is gone. Nothing is lost when the future is
    /// dropped before it is ready.
    ///
    /// # Errors
    /// When a line is none, or too long.
    pub(super) async fn receive<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        let room = LONGEST.saturating_sub(self.line.len()) as u64;
        (&mut self.stream).take(room).read_until(b'\n', &mut self.line).await?;
        let line = std::mem::take(&mut self.line);
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
