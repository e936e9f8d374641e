//! What a program that is to succeed this one prints on standard error before it can tell by the
//! channel what is wrong: a script's complaint, that of the loader, or of the stub.
//!
//! It gets a pipe for standard error, which is relayed to the log, and a descriptor of this
//! process's own beside its first line. A balancer takes that one at once in place of the pipe,
//! before it looks whether it is at a terminal, so it depends on nobody later. What a script has
//! put in the pipe's place stays.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use balancer_supervisor::last_words;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::pipe;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::info;

/// Lines that are kept: those that say most are chosen among them.
const KEPT: usize = 60;
/// Bytes of a line; what is longer counts as several.
const LINE: u64 = 4096;
/// For what has been printed to be read, once whoever has printed it has ended.
const READING: Duration = Duration::from_millis(500);

/// Reads what comes until all have closed their ends.
#[derive(Debug)]
pub(super) struct LastWords {
    reading: JoinHandle<()>,
    lines: Arc<Mutex<VecDeque<String>>>,
}

impl LastWords {
    /// To be called on an event loop. Returns the end that is to be written to as well.
    ///
    /// # Errors
    /// When there are too many descriptors.
    pub(super) fn listen() -> io::Result<(Self, OwnedFd)> {
        let (reader, writer) = io::pipe()?;
        let lines = Arc::<Mutex<VecDeque<String>>>::default();
        let reading = tokio::spawn(relay(
            BufReader::new(pipe::Receiver::from_owned_fd(reader.into())?),
            Arc::clone(&lines),
        ));
        Ok((Self { reading, lines }, writer.into()))
    }

    /// The lines that say most, the last ones last.
    pub(super) async fn heard(&mut self) -> Vec<String> {
        // Somebody may have the other end for longer.
        let _ = timeout(READING, &mut self.reading).await;
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        last_words(lines.iter().map(String::as_str))
    }
}

impl Drop for LastWords {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

async fn relay(mut printed: BufReader<pipe::Receiver>, lines: Arc<Mutex<VecDeque<String>>>) {
    let mut line = Vec::new();
    while let Ok(1..) = (&mut printed).take(LINE).read_until(b'\n', &mut line).await {
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        line.clear();
        info!("the new balancer says: {text}");
        let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == KEPT {
            lines.pop_front();
        }
        lines.push_back(text);
    }
}

/// Sends `line`, which the socket has room for, with a descriptor of standard error.
///
/// # Errors
/// When it does not fit, or the system refuses.
pub(super) fn send(stream: &UnixStream, line: &[u8]) -> io::Result<()> {
    let stderr = io::stderr();
    let descriptors = [stderr.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    let sent = sendmsg(stream, &[IoSlice::new(line)], &mut control, SendFlags::empty())?;
    if sent == line.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// Reads a line of at most `longest` bytes, and the descriptor that has come with it, if one
/// has. Nothing may follow the line.
///
/// # Errors
/// When the other side is gone or silent for too long.
pub(super) fn receive(mut stream: &UnixStream, longest: usize) -> io::Result<(Vec<u8>, Option<OwnedFd>)> {
    let mut line = vec![0; longest];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut line)];
    let mut length = recvmsg(stream, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?.bytes;
    let descriptors = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let descriptor = descriptors.flatten().next();
    while length > 0 && line[length - 1] != b'\n' && length < longest {
        match stream.read(&mut line[length..])? {
            0 => break,
            count => length += count,
        }
    }
    line.truncate(length);
    Ok((line, descriptor))
}

/// Writes to `stderr` from now on, if standard error is still the pipe with this `inode`.
///
/// # Errors
/// When the system refuses.
pub(super) fn leave(inode: u64, stderr: OwnedFd) -> io::Result<()> {
    let now = rustix::fs::fstat(io::stderr())?;
    let is_pipe = rustix::fs::FileType::from_raw_mode(now.st_mode) == rustix::fs::FileType::Fifo;
    if is_pipe && now.st_ino == inode {
        rustix::stdio::dup2_stderr(stderr)?;
    }
    Ok(())
}
