//! The access log's thread: formats the lines and writes them, many at a time when
//! there are many.

use std::fs::{File, OpenOptions};
use std::io::{self, Stdout, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::format::{self, Format};
use crate::record::Record;

/// Bytes that are written at a time when there are many.
const BATCH: usize = 64 * 1024;
/// Shortest time between two warnings.
const WARN_INTERVAL: Duration = Duration::from_secs(10);
/// The owner writes, the group reads; the umask may take more away.
const MODE: u32 = 0o640;

#[derive(Debug)]
pub(crate) enum Message {
    Record(Record),
    /// A flag has been set.
    Wake,
}

/// What the thread shares with those who write to the log.
#[derive(Debug, Default)]
pub(crate) struct Flags {
    pub(crate) reopen: AtomicBool,
    pub(crate) ending: AtomicBool,
    /// Lines that were lost, counted where operators read it.
    pub(crate) dropped: Arc<AtomicU64>,
}

#[derive(Debug)]
pub(crate) enum Output {
    Stdout(Stdout),
    File(File),
}

#[derive(Debug)]
pub(crate) struct Writer {
    output: Output,
    path: Option<PathBuf>,
    format: Format,
    flags: Arc<Flags>,
    batch: Vec<u8>,
    /// Lines in `batch`.
    lines: u64,
    warnings: Warnings,
}

/// The warnings so far.
#[derive(Debug, Default)]
struct Warnings {
    /// Lost lines that have been reported.
    dropped: u64,
    last: Option<Instant>,
}

impl Writer {
    pub(crate) fn new(output: Output, path: Option<PathBuf>, format: Format, flags: Arc<Flags>) -> Self {
        let warnings = Warnings::default();
        Self { output, path, format, flags, batch: Vec::new(), lines: 0, warnings }
    }

    /// Writes until it is told to end, or until every sender is gone.
    pub(crate) fn run(mut self, queue: &Receiver<Message>) {
        loop {
            let message = match queue.try_recv() {
                Ok(message) => message,
                Err(TryRecvError::Disconnected) => break,
                Err(TryRecvError::Empty) => {
                    self.write_batch();
                    self.warn_of_loss(false);
                    if self.flags.ending.load(Ordering::SeqCst) {
                        break;
                    }
                    let Ok(message) = queue.recv() else { break };
                    message
                }
            };
            if self.flags.reopen.swap(false, Ordering::SeqCst) {
                self.reopen();
            }
            if let Message::Record(record) = message {
                match self.format {
                    Format::Combined => format::combined(&record, &mut self.batch),
                    Format::Json => format::json(&record, &mut self.batch),
                }
                self.lines += 1;
            }
            if self.batch.len() >= BATCH {
                self.write_batch();
            }
        }
        self.write_batch();
        self.warn_of_loss(true);
    }

    fn write_batch(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let written = match &mut self.output {
            Output::Stdout(stdout) => stdout.write_all(&self.batch).and_then(|()| stdout.flush()),
            Output::File(file) => file.write_all(&self.batch),
        };
        if let Err(err) = written {
            self.flags.dropped.fetch_add(self.lines, Ordering::Relaxed);
            if self.warnings.are_due() {
                warn!(%err, "could not write the access log");
            }
        }
        self.batch.clear();
        self.lines = 0;
    }

    /// Records that came before go to the old file.
    fn reopen(&mut self) {
        let Some(path) = self.path.clone() else { return };
        self.write_batch();
        match open_file(&path) {
            Ok(file) => {
                self.output = Output::File(file);
                info!(path = %path.display(), "access log reopened");
            }
            Err(err) => {
                warn!(path = %path.display(), %err, "could not reopen the access log: the old file stays")
            }
        }
    }

    fn warn_of_loss(&mut self, at_the_end: bool) {
        let dropped = self.flags.dropped.load(Ordering::Relaxed);
        if dropped > self.warnings.dropped && (at_the_end || self.warnings.are_due()) {
            self.warnings.dropped = dropped;
            self.warnings.last = Some(Instant::now());
            warn!(dropped, "lines of the access log were lost: they came faster than they could be written");
        }
    }
}

impl Warnings {
    fn are_due(&self) -> bool {
        self.last.is_none_or(|last| last.elapsed() >= WARN_INTERVAL)
    }
}

pub(crate) fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(MODE).open(path)
}
