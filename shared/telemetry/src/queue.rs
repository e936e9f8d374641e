//! Lines on their way to a terminal, file or pipe: a bounded buffer, and the thread that
//! writes what is in it. Whoever hands in a line never waits for the reader; a line for
//! which there is no room is lost, counted and reported.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes that may wait for a slow reader: a flood of some tens of thousands of lines.
const ROOM: usize = 8 * 1024 * 1024;
/// Bytes of that in which only the program's own lines may wait, so that those of others
/// never push them out.
const OWN_ROOM: usize = 1024 * 1024;
/// A buffer that has grown beyond this is given back once it has been written.
const KEPT: usize = 64 * 1024;
/// Directive of a filter by which reports of lost lines pass.
pub(crate) const LOSSES: &str = concat!(module_path!(), "=warn");

/// Shortest time between two reports of lost lines.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// Lines that were lost since the start because they were read too slowly.
#[derive(Debug, Clone, Default)]
pub struct Lost {
    /// The program's own.
    pub own: Arc<AtomicU64>,
    /// Those that it passes on for others.
    pub relayed: Arc<AtomicU64>,
}

/// Who writes. A line that one source has begun and not ended yet is continued by that
/// source alone: before anybody else's line comes a line feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source(pub u64);

/// Takes lines of others into the queue. Cloning it shares the queue.
#[derive(Debug, Clone)]
pub struct Sink(pub(crate) Arc<Queue>);

impl Sink {
    /// Hands in `text`, which holds `lines` lines, all or nothing.
    pub fn write(&self, source: Source, text: &[u8], lines: u64) {
        self.0.push(Some(source), text, lines);
    }
}

/// Takes the program's own lines, one with each call.
#[derive(Debug, Clone)]
pub(crate) struct OwnLines(pub(crate) Arc<Queue>);

impl Write for OwnLines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(None, line, 1);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    lost: Lost,
    /// What is read too slowly, for reports.
    name: &'static str,
}

#[derive(Debug, Default)]
struct State {
    waiting: Batch,
    /// Who has begun a line without ending it.
    open: Option<Open>,
    reports: Reports,
    ending: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    /// This source may go on with it.
    By(Source),
    /// Its continuation was lost, so nobody can.
    Torn,
}

#[derive(Debug, Default)]
struct Batch {
    bytes: Vec<u8>,
    own: u64,
    relayed: u64,
}

/// Losses that were not reported yet.
#[derive(Debug, Default)]
struct Reports {
    own: u64,
    relayed: u64,
    /// When the first of them was lost.
    since: Option<Instant>,
    last: Option<Instant>,
}

impl Reports {
    /// How long the next report has to wait; none is needed when nothing was lost.
    fn due_in(&self, now: Instant) -> Option<Duration> {
        self.since?;
        let next = self.last.map_or(now, |last| last + REPORT_INTERVAL);
        Some(next.saturating_duration_since(now))
    }
}

/// Keeps the writing thread running; see [`Writing::finish`].
#[derive(Debug)]
pub(crate) struct Writing {
    pub(crate) queue: Arc<Queue>,
    ended: Receiver<()>,
}

impl Writing {
    /// Lets the thread write what waits, for up to `patience`: whoever does not read must
    /// not keep the program from ending.
    pub(crate) fn finish(&self, patience: Duration) {
        self.queue.report(true);
        self.queue.lock().ending = true;
        self.queue.changed.notify_all();
        // Also returns when the thread has ended, which drops its end.
        let _ = self.ended.recv_timeout(patience);
    }
}

impl Queue {
    /// Starts the thread that writes to `out`, which is called `name` in reports.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub(crate) fn start(
        out: impl Write + Send + 'static,
        name: &'static str,
        lost: Lost,
    ) -> io::Result<Writing> {
        let queue = Arc::new(Self { state: Mutex::default(), changed: Condvar::new(), lost, name });
        let (end, ended) = sync_channel(0);
        let writer = Arc::clone(&queue);
        thread::Builder::new().name("log".to_owned()).spawn(move || {
            writer.run(out);
            drop(end);
        })?;
        Ok(Writing { queue, ended })
    }

    /// `source` is absent for the program's own lines.
    fn push(&self, source: Option<Source>, text: &[u8], lines: u64) {
        let mut state = self.lock();
        let room = if source.is_some() { ROOM - OWN_ROOM } else { ROOM };
        let waiting = state.waiting.bytes.len();
        // A text of any length fits into an empty buffer; those who write bound it.
        if waiting > 0 && waiting + text.len() > room {
            let torn = state.open.is_some_and(|open| source.map(Open::By) == Some(open));
            state.open = if torn { Some(Open::Torn) } else { state.open };
            self.count(&mut state, source, lines);
            return;
        }
        if state.open.is_some_and(|open| source.map(Open::By) != Some(open)) {
            state.waiting.bytes.push(b'\n');
        }
        state.waiting.bytes.extend_from_slice(text);
        state.open = match (text.last(), source) {
            (Some(b'\n'), _) | (_, None) => None,
            (_, Some(source)) => Some(Open::By(source)),
        };
        match source {
            Some(_) => state.waiting.relayed += lines,
            None => state.waiting.own += lines,
        }
        drop(state);
        if waiting == 0 {
            self.changed.notify_one();
        }
    }

    fn count(&self, state: &mut State, source: Option<Source>, lines: u64) {
        let (total, unreported) = match source {
            Some(_) => (&self.lost.relayed, &mut state.reports.relayed),
            None => (&self.lost.own, &mut state.reports.own),
        };
        total.fetch_add(lines, Ordering::Relaxed);
        *unreported += lines;
        state.reports.since.get_or_insert_with(Instant::now);
    }

    fn run(&self, mut out: impl Write) {
        let mut batch = Batch::default();
        while self.take(&mut batch) {
            if out.write_all(&batch.bytes).and_then(|()| out.flush()).is_err() {
                self.lost.own.fetch_add(batch.own, Ordering::Relaxed);
                self.lost.relayed.fetch_add(batch.relayed, Ordering::Relaxed);
            }
            if batch.bytes.capacity() > KEPT {
                batch.bytes = Vec::new();
            }
            batch.bytes.clear();
            self.report(false);
        }
    }

    /// Waits for something to write or to report, and takes all that there is to write.
    /// `false` at the end.
    fn take(&self, batch: &mut Batch) -> bool {
        let mut state = self.lock();
        loop {
            if !state.waiting.bytes.is_empty() {
                std::mem::swap(&mut state.waiting, batch);
                (state.waiting.own, state.waiting.relayed) = (0, 0);
                return true;
            }
            if state.ending {
                return false;
            }
            state = match state.reports.due_in(Instant::now()) {
                Some(Duration::ZERO) => return true,
                Some(wait) => {
                    let waited = self.changed.wait_timeout(state, wait);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Says in the log what was lost, unless that was done a short while ago.
    fn report(&self, at_the_end: bool) {
        let now = Instant::now();
        let mut state = self.lock();
        if !(state.reports.due_in(now).is_some_and(|wait| at_the_end || wait.is_zero())) {
            return;
        }
        let reports = std::mem::take(&mut state.reports);
        state.reports.last = Some(now);
        drop(state);
        let seconds = reports.since.map_or(0, |since| now.duration_since(since).as_secs()) + 1;
        for (lost, whose) in [(reports.relayed, "lines of workers"), (reports.own, "lines of this log")] {
            if lost > 0 {
                let name = self.name;
                tracing::warn!(
                    lost,
                    "{lost} {whose} were lost within the last {seconds} s: {name} is read too slowly"
                );
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
