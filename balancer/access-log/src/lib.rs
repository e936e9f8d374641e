//! The access log: one line for each request, to a file or to standard output.
//!
//! Requests hand over what is known of them and never wait: a bounded queue leads
//! to a thread of its own, which makes lines of it and writes them. What does not
//! fit is dropped, counted and said.

mod format;
mod writer;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, SystemTime};

use shared_protocol::WorkerId;

use writer::{Output, Writer};

/// Requests that may wait to be written: half a second of a busy machine.
const QUEUED: usize = 8192;
/// The owner writes, the group reads; what the umask takes away stays away.
const MODE: u32 = 0o640;
/// How long the end of the program waits for the last lines.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The form of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// That of Apache's `combined`, and what a balancer knows beyond it.
    #[default]
    Combined,
    /// A JSON object.
    Json,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    Stdout,
    File(PathBuf),
}

/// What a log needs to be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub target: Target,
    pub format: Format,
}

/// Pieces of a request that are kept until it is over, as its client sent them.
#[derive(Debug)]
pub struct Texts {
    bytes: Vec<u8>,
    /// Where each of [`Pieces`] ends; none for what there was not.
    ends: [Option<usize>; PIECES],
}

const PIECES: usize = 5;

/// What [`Texts`] are made of.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pieces<'a> {
    pub client: Option<&'a [u8]>,
    pub request_line: Option<&'a [u8]>,
    pub referer: Option<&'a [u8]>,
    pub user_agent: Option<&'a [u8]>,
    pub request_id: Option<&'a [u8]>,
}

impl Texts {
    pub fn new(pieces: Pieces<'_>) -> Self {
        let Pieces { client, request_line, referer, user_agent, request_id } = pieces;
        let all = [client, request_line, referer, user_agent, request_id];
        let mut bytes = Vec::with_capacity(all.iter().flatten().map(|piece| piece.len()).sum());
        let ends = all.map(|piece| {
            bytes.extend_from_slice(piece?);
            Some(bytes.len())
        });
        Self { bytes, ends }
    }

    fn pieces(&self) -> Pieces<'_> {
        let mut start = 0;
        let [client, request_line, referer, user_agent, request_id] = self.ends.map(|end| {
            let piece = &self.bytes[start..end?];
            start += piece.len();
            Some(piece)
        });
        Pieces { client, request_line, referer, user_agent, request_id }
    }
}

/// A request that is over.
#[derive(Debug)]
pub struct Record {
    pub texts: Box<Texts>,
    /// When it was over.
    pub at: SystemTime,
    /// The last worker that was asked; the primary when none was.
    pub worker: WorkerId,
    pub status: u16,
    /// Bytes of the answer's body.
    pub sent: u64,
    pub attempts: usize,
    pub upstream: Duration,
    pub total: Duration,
}

#[derive(Debug)]
enum Message {
    Over(Record),
    /// There is something to be done beside writing.
    Wake,
}

/// What the thread and those who write to it share.
#[derive(Debug, Default)]
struct Flags {
    reopen: AtomicBool,
    ending: AtomicBool,
    /// Lines that were lost, counted where operators read it.
    dropped: Arc<AtomicU64>,
}

/// Where requests are noted; switched off by default, and then it costs nothing.
#[derive(Debug, Clone, Default)]
pub struct AccessLog(Option<Arc<Queue>>);

#[derive(Debug)]
struct Queue {
    messages: SyncSender<Message>,
    flags: Arc<Flags>,
}

/// Keeps the log's thread; dropping it writes out what still waits.
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
    /// Opens the log and starts its thread. Lines that are lost are added to `dropped`.
    ///
    /// # Errors
    /// When the file cannot be opened for writing, or there is no thread to be had.
    pub fn open(settings: &Settings, dropped: Arc<AtomicU64>) -> Result<(Self, Guard), AccessLogError> {
        let (output, path) = match &settings.target {
            Target::Stdout => (Output::Stdout(io::stdout()), None),
            Target::File(path) => {
                let file = open_file(path);
                let file = file.map_err(|reason| AccessLogError::Open { path: path.clone(), reason })?;
                // Found again whatever the working directory is.
                let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.clone());
                (Output::File(file), Some(path))
            }
        };
        Self::start(output, path, settings.format, dropped, QUEUED).map_err(AccessLogError::Thread)
    }

    fn start(
        output: Output,
        path: Option<PathBuf>,
        format: Format,
        dropped: Arc<AtomicU64>,
        queued: usize,
    ) -> io::Result<(Self, Guard)> {
        let (messages, queue) = sync_channel(queued);
        let (end, ended) = sync_channel(0);
        let flags = Arc::new(Flags { dropped, ..Flags::default() });
        let writer = Writer::new(output, path, format, Arc::clone(&flags));
        thread::Builder::new().name("access-log".to_owned()).spawn(move || {
            writer.run(&queue);
            drop(end);
        })?;
        let log = Self(Some(Arc::new(Queue { messages, flags })));
        Ok((log.clone(), Guard { log, ended: Some(ended) }))
    }

    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Notes a request, unless too many are waiting to be written.
    pub fn note(&self, record: Record) {
        let Some(queue) = &self.0 else { return };
        if queue.messages.try_send(Message::Over(record)).is_err() {
            queue.flags.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Goes on with a file of the same name, as somebody has moved the one before
    /// out of the way.
    pub fn reopen(&self) {
        self.tell(|flags| &flags.reopen);
    }

    fn tell(&self, flag: impl FnOnce(&Flags) -> &AtomicBool) {
        let Some(queue) = &self.0 else { return };
        flag(&queue.flags).store(true, Ordering::SeqCst);
        // With a full queue the thread is awake, and looks at the flag anyway.
        let _ = queue.messages.try_send(Message::Wake);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(ended) = self.ended.take() {
            self.log.tell(|flags| &flags.ending);
            // Whoever does not read what we write must not keep us from ending.
            let _ = ended.recv_timeout(LAST_LINES);
        }
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(MODE).open(path)
}

#[cfg(test)]
mod tests;
