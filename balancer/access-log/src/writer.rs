//! The access log's thread: makes lines and writes them, many at a time when
//! there are many.

use std::fs::File;
use std::io::{Stdout, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::{Flags, Format, Message, format, open_file};

/// Bytes that are written at a time when there are many.
const BATCH: usize = 64 * 1024;
/// Trouble is said this often at most.
const BETWEEN_COMPLAINTS: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) enum Output {
    Stdout(Stdout),
    File(File),
}

#[derive(Debug)]
pub(super) struct Writer {
    output: Output,
    path: Option<PathBuf>,
    format: Format,
    flags: Arc<Flags>,
    batch: Vec<u8>,
    /// Lines in it.
    lines: u64,
    complaints: Complaints,
}

/// What has been said of lost lines.
#[derive(Debug, Default)]
struct Complaints {
    dropped: u64,
    last: Option<Instant>,
}

impl Writer {
    pub(super) fn new(output: Output, path: Option<PathBuf>, format: Format, flags: Arc<Flags>) -> Self {
        let complaints = Complaints::default();
        Self { output, path, format, flags, batch: Vec::new(), lines: 0, complaints }
    }

    /// Writes until told to end, or until nobody is left to send anything.
    pub(super) fn run(mut self, queue: &Receiver<Message>) {
        loop {
            let message = match queue.try_recv() {
                Ok(message) => message,
                Err(TryRecvError::Disconnected) => break,
                Err(TryRecvError::Empty) => {
                    self.write();
                    self.complain(false);
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
            if let Message::Over(record) = message {
                match self.format {
                    Format::Combined => format::combined(&record, &mut self.batch),
                    Format::Json => format::json(&record, &mut self.batch),
                }
                self.lines += 1;
            }
            if self.batch.len() >= BATCH {
                self.write();
            }
        }
        self.write();
        self.complain(true);
    }

    fn write(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let written = match &mut self.output {
            Output::Stdout(stdout) => stdout.write_all(&self.batch).and_then(|()| stdout.flush()),
            Output::File(file) => file.write_all(&self.batch),
        };
        if let Err(err) = written {
            self.flags.dropped.fetch_add(self.lines, Ordering::Relaxed);
            if self.complaints.are_due() {
                warn!(%err, "could not write the access log");
            }
        }
        self.batch.clear();
        self.lines = 0;
    }

    /// What was noted before goes to the old file.
    fn reopen(&mut self) {
        let Some(path) = self.path.clone() else { return };
        self.write();
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

    fn complain(&mut self, at_the_end: bool) {
        let dropped = self.flags.dropped.load(Ordering::Relaxed);
        if dropped > self.complaints.dropped && (at_the_end || self.complaints.are_due()) {
            self.complaints.dropped = dropped;
            self.complaints.last = Some(Instant::now());
            warn!(dropped, "lines of the access log were lost: they came faster than they could be written");
        }
    }
}

impl Complaints {
    fn are_due(&self) -> bool {
        self.last.is_none_or(|last| last.elapsed() >= BETWEEN_COMPLAINTS)
    }
}
