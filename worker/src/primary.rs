//! The socket to the primary that a supervised worker has as standard input.
//!
//! Towards the primary it carries [`WorkerMessage`]s, one per line. From it only
//! its end counts: when the primary dies, however it dies, the kernel closes
//! the other end, and the worker has nothing left to work for.

use std::fmt::Display;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::{self, ExitCode};
use std::thread;

use anyhow::Context as _;
use shared_protocol::WorkerMessage;

pub(crate) struct Link {
    socket: UnixStream,
}

impl Link {
    /// Takes over standard input.
    pub(crate) fn from_stdin() -> anyhow::Result<Self> {
        let descriptor = io::stdin().as_fd().try_clone_to_owned().context("could not use standard input")?;
        let socket = UnixStream::from(descriptor);
        socket.peer_addr().context(
            "standard input is no socket to a primary; only a primary starts a worker in this way",
        )?;
        Ok(Self { socket })
    }

    /// Ends this process as soon as the primary is gone. The thread is blocked
    /// in the kernel until then, and needs no event loop to act.
    pub(crate) fn watch(&self) -> io::Result<()> {
        let mut socket = self.socket.try_clone()?;
        thread::Builder::new().name("primary".to_owned()).stack_size(64 * 1024).spawn(move || {
            let mut buffer = [0; 64];
            loop {
                match socket.read(&mut buffer) {
                    Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                    // Nothing is defined in this direction yet.
                    Ok(count) if count > 0 => {}
                    // Nobody is left who would read a log line about it.
                    Ok(_) | Err(_) => process::exit(1),
                }
            }
        })?;
        Ok(())
    }

    pub(crate) fn listening(&self, port: u16) -> anyhow::Result<()> {
        self.send(&WorkerMessage::Listening { port }).context("could not report the port to the primary")
    }

    /// The listening socket is about to close, on whosever order.
    pub(crate) fn leaving(&self) {
        // A primary that is gone does not need to know.
        let _ = self.send(&WorkerMessage::Leaving);
    }

    /// Reports why there will be no worker; the exit code is for the caller.
    pub(crate) fn failed(&self, err: &dyn Display, code: u8) -> ExitCode {
        let reason = format!("{err:#}");
        if self.send(&WorkerMessage::Failed { reason }).is_err() {
            return crate::report(err, code);
        }
        ExitCode::from(code)
    }

    fn send(&self, message: &WorkerMessage) -> io::Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        (&self.socket).write_all(&line)
    }
}
