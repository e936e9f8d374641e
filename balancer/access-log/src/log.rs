//! The log as the request path and the program see it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use crate::format::Format;
use crate::record::Record;
use crate::writer::{Flags, Message, Output, Writer, open_file};

/// Records that may wait to be written: half a second of a busy machine.
const QUEUE: usize = 8192;
/// How long the end of the program waits for the last lines.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    Stdout,
    File(PathBuf),
}

/// What is needed to open a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub target: Target,
    pub format: Format,
}

/// The log to which requests are written. It is off by default and costs nothing then.
#[derive(Debug, Clone, Default)]
pub struct AccessLog(Option<Arc<Queue>>);

#[derive(Debug)]
struct Queue {
    messages: SyncSender<Message>,
    flags: Arc<Flags>,
}

/// Keeps the log's thread running. Dropping it writes the records that still wait.
#[derive(Debug, Default)]
pub struct Guard {
    log: AccessLog,
    ended: Option<Receiver<()>>,
}

#[derive(Debug, thiserror::Error)]
pub enum AccessLogError {
    #[error(
        "could not open the access log {}: {reason} (set --access-log or CLUSTER_ACCESS_LOG to a file in \
         a directory that can be written, or to - for standard output)",
        path.display()
    )]
    Open { path: PathBuf, reason: io::Error },
    #[error("could not start the access log's thread: {0}")]
    Thread(io::Error),
}

impl AccessLog {
    /// Opens the log and starts its thread. `dropped` counts the lines that are lost.
    ///
    /// # Errors
    /// When the file cannot be opened for writing, or when the thread cannot be started.
    pub fn open(settings: &Settings, dropped: Arc<AtomicU64>) -> Result<(Self, Guard), AccessLogError> {
        let (output, path) = match &settings.target {
            Target::Stdout => (Output::Stdout(io::stdout()), None),
            Target::File(path) => {
                let file = open_file(path);
                let file = file.map_err(|reason| AccessLogError::Open { path: path.clone(), reason })?;
                // An absolute path is found again in any working directory.
                let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.clone());
                (Output::File(file), Some(path))
            }
        };
        Self::start(output, path, settings.format, dropped, QUEUE).map_err(AccessLogError::Thread)
    }

    pub(crate) fn start(
        output: Output,
        path: Option<PathBuf>,
        format: Format,
        dropped: Arc<AtomicU64>,
        queue: usize,
    ) -> io::Result<(Self, Guard)> {
        let (messages, receiver) = sync_channel(queue);
        let (end, ended) = sync_channel(0);
        let flags = Arc::new(Flags { dropped, ..Flags::default() });
        let writer = Writer::new(output, path, format, Arc::clone(&flags));
        thread::Builder::new().name("access-log".to_owned()).spawn(move || {
            writer.run(&receiver);
            drop(end);
        })?;
        let log = Self(Some(Arc::new(Queue { messages, flags })));
        Ok((log.clone(), Guard { log, ended: Some(ended) }))
    }

    /// Are requests logged?
    #[inline]
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Writes a record, unless too many wait to be written.
    pub fn write(&self, record: Record) {
        let Some(queue) = &self.0 else { return };
        if queue.messages.try_send(Message::Record(record)).is_err() {
            queue.flags.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Closes the file and opens one of the same name, as log rotation has moved the
    /// old one away.
    pub fn reopen(&self) {
        self.signal(|flags| &flags.reopen);
    }

    fn signal(&self, flag: impl FnOnce(&Flags) -> &AtomicBool) {
        let Some(queue) = &self.0 else { return };
        flag(&queue.flags).store(true, Ordering::SeqCst);
        // While the queue is full the thread is awake, and looks at the flag anyway.
        let _ = queue.messages.try_send(Message::Wake);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(ended) = self.ended.take() {
            self.log.signal(|flags| &flags.ending);
            // A reader that does not read must not keep the program from ending.
            let _ = ended.recv_timeout(FLUSH_TIMEOUT);
        }
    }
}
